package main

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"acrd/internal/api"

	"github.com/spf13/pflag"
)

// requestFlags are common to build and run.
type requestFlags struct {
	server      *server
	registry    string
	timeout     int
	credentials []string
	allow       []string
	authMode    string
}

func (f *requestFlags) define(fs *pflag.FlagSet, s *session) {
	fs.StringVarP(&f.registry, "registry", "r", "", "registry of the run, HOST[:PORT]; the daemon's own if empty, or a name of Azure's")
	fs.IntVar(&f.timeout, "timeout", 0, "seconds that the run may take (default 3600)")
	fs.StringArrayVar(&f.credentials, "credential", nil, `registry credential as JSON {"registry","username","password"}, or @FILE that holds one (repeat)`)
	fs.StringArrayVar(&f.allow, "allow", nil, "entitlement for this run: security.insecure, network.host, device, mount, registry (repeat)")
	fs.StringVar(&f.authMode, "auth-mode", "Default", "None: do not use the docker config's credentials")
	for _, name := range []string{"agent-pool", "log-template", "source-acr-auth-id"} {
		fs.String(name, "", "ignored: only Azure has this")
		_ = fs.MarkHidden(name)
	}
	fs.StringP("resource-group", "g", "", "ignored: only Azure has this")
	_ = fs.MarkHidden("resource-group")
	f.server = serverFlags(fs, s)
}

func (w *waiting) define(fs *pflag.FlagSet) {
	fs.BoolVar(&w.noLogs, "no-logs", false, "do not show the log")
	fs.BoolVar(&w.noWait, "no-wait", false, "do not wait for the end")
	w.output = outputFlag(fs)
}

// apply adds to a request what is common to all.
func (f *requestFlags) apply(c *connection, s *session, req *api.RunRequest) error {
	req.RunRegistry = runRegistry(f.registry)
	req.RunTimeout = f.timeout
	for _, words := range f.allow {
		req.Entitlements = append(req.Entitlements, strings.Split(words, ",")...)
	}
	all := map[string]api.RegistryCredential{}
	// A socket keeps what the user has logged in to on this machine.
	if c.local && !strings.EqualFold(f.authMode, "None") {
		all = dockerCredentials(s)
	}
	for _, spec := range f.credentials {
		host, cred, err := readCredential(spec)
		if err != nil {
			return err
		}
		all[host] = cred
	}
	if len(all) > 0 {
		req.Credentials = &api.Credentials{CustomRegistries: all}
	}
	return nil
}

// runRegistry is the host that --registry names. A word that can be none is how
// Azure calls its registries, and means the daemon's own: as a host it would be
// somebody's images on Docker Hub.
func runRegistry(given string) string {
	host := normalHost(given)
	if !strings.ContainsAny(host, ".:") && host != "localhost" {
		return ""
	}
	return host
}

func readCredential(spec string) (string, api.RegistryCredential, error) {
	var none api.RegistryCredential
	text := []byte(spec)
	if name, ok := strings.CutPrefix(spec, "@"); ok {
		var err error
		if text, err = os.ReadFile(name); err != nil {
			return "", none, fmt.Errorf("--credential: %w", err)
		}
	}
	var c struct{ Registry, Username, Password string }
	if err := json.Unmarshal(text, &c); err != nil {
		return "", none, &usageError{"--credential: " + err.Error()}
	}
	for _, field := range []struct{ name, value string }{{"registry name", c.Registry}, {"username", c.Username}, {"password", c.Password}} {
		if field.value == "" {
			return "", none, &usageError{fmt.Sprintf("--credential: %s can't be empty", field.name)}
		}
	}
	return normalHost(c.Registry), credential(c.Username, c.Password), nil
}

func credential(user, password string) api.RegistryCredential {
	return api.RegistryCredential{
		UserName: api.SecretObject{Value: user, Type: "Opaque"},
		Password: api.SecretObject{Value: password, Type: "Opaque"},
	}
}

// dockerCredentials are those that docker login has left as such. Credential
// helpers are not asked: which of their registries a run needs is not known
// yet.
func dockerCredentials(s *session) map[string]api.RegistryCredential {
	all := map[string]api.RegistryCredential{}
	dir := s.getenv("DOCKER_CONFIG")
	if dir == "" {
		home, err := os.UserHomeDir()
		if err != nil {
			return all
		}
		dir = filepath.Join(home, ".docker")
	}
	b, err := os.ReadFile(filepath.Join(dir, "config.json"))
	if err != nil {
		return all
	}
	var config struct {
		Auths map[string]struct{ Auth string }
	}
	if err := json.Unmarshal(b, &config); err != nil {
		fmt.Fprintf(s.stderr, "acrd: %s is ignored: %s\n", filepath.Join(dir, "config.json"), err)
		return all
	}
	for host, a := range config.Auths {
		user, password, err := decodeAuth(a.Auth)
		if err == nil {
			all[normalHost(host)] = credential(user, password)
		}
	}
	return all
}

func decodeAuth(auth string) (user, password string, err error) {
	b, err := base64.StdEncoding.DecodeString(auth)
	if err != nil {
		return "", "", err
	}
	user, password, ok := strings.Cut(strings.TrimRight(string(b), "\x00"), ":")
	if !ok || user == "" || password == "" {
		return "", "", errors.New("no user and password")
	}
	return user, password, nil
}
