// Command keys lists the keys of the SSH agent that it can reach, as ssh-add
// -l does.
package main

import (
	"context"
	"fmt"
	"net"
	"os"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"
)

func main() {
	if err := list(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, "keys:", err)
		os.Exit(1)
	}
}

func list(ctx context.Context) error {
	conn, err := (&net.Dialer{}).DialContext(ctx, "unix", os.Getenv("SSH_AUTH_SOCK"))
	if err != nil {
		return fmt.Errorf("no agent: %w", err)
	}
	defer conn.Close()
	keys, err := agent.NewClient(conn).List()
	if err != nil {
		return err
	}
	for _, k := range keys {
		fmt.Printf("the agent has %s %s (%s)\n", k.Type(), ssh.FingerprintSHA256(k), k.Comment)
	}
	return nil
}
