package secrets

import (
	"context"
	"fmt"
	"strings"
)

// Env has secrets as variables of the daemon's environment. The secret
// "db-password" is the variable Prefix + "DB_PASSWORD". Without the prefix
// every task could read every variable.
type Env struct {
	Prefix string
	Lookup func(string) (string, bool)
}

// EnvPrefix begins the variables that task files may name.
const EnvPrefix = "ACRD_SECRET_"

// Get reads a variable. What is not there is no secret; what is empty is one.
func (e Env) Get(_ context.Context, ref Ref) ([]byte, error) {
	if err := ref.unversioned("the environment"); err != nil {
		return nil, err
	}
	name := ref.Name
	if ref.Store != "" { // not an alias's
		name = e.Prefix + strings.ToUpper(strings.ReplaceAll(ref.Name, "-", "_"))
	}
	value, ok := e.Lookup(name)
	if !ok {
		return nil, fmt.Errorf("variable %s of the daemon: %w", name, ErrNotFound)
	}
	return []byte(value), nil
}
