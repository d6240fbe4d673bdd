// Command serve makes a git repository, serves it on the loopback, and runs a
// command meanwhile:
//
//	go run ./examples/git-context/serve acrd build -t site:v1 http://localhost:5080/site.git#v1:web
//
// The repository has the files of examples/git-context/site in two commits:
// the tag v1, and after it the branch main. Both are gone when the command has
// ended.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/http"
	"net/http/cgi"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"time"
)

func main() {
	listen := flag.String("listen", "localhost:5080", "where to serve the repository")
	files := flag.String("files", "examples/git-context/site", "what to put into it")
	flag.Parse()
	code, err := run(*listen, *files, flag.Args())
	if err != nil {
		fmt.Fprintln(os.Stderr, "serve:", err)
		code = 1
	}
	os.Exit(code)
}

// run returns the exit code of the command.
func run(listen, files string, command []string) (int, error) {
	if len(command) == 0 {
		return 0, errors.New("a command to run is missing")
	}
	// Ctrl-C is the command's to heed; this process ends right after it.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	dir, err := os.MkdirTemp("", "git-context-")
	if err != nil {
		return 0, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	if err := makeRepository(ctx, dir, files); err != nil {
		return 0, err
	}
	server, err := serve(ctx, listen, dir)
	if err != nil {
		return 0, err
	}
	defer func() { _ = server.Close() }()
	cmd := exec.Command(command[0], command[1:]...) //nolint:noctx,gosec // it is the user's, who ends it
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	var exit *exec.ExitError
	if err := cmd.Run(); errors.As(err, &exit) {
		return exit.ExitCode(), nil
	} else if err != nil {
		return 0, err
	}
	return 0, nil
}

// makeRepository makes dir/site.git. Two commits differ in a line of the page.
func makeRepository(ctx context.Context, dir, files string) error {
	work, bare := filepath.Join(dir, "work"), filepath.Join(dir, "site.git")
	if err := os.CopyFS(work, os.DirFS(files)); err != nil {
		return err
	}
	page := filepath.Join(work, "web", "index.html")
	first, err := os.ReadFile(page)
	if err != nil {
		return err
	}
	second := strings.ReplaceAll(string(first), "first edition", "second edition")
	for _, step := range []func() error{
		func() error { return git(ctx, work, "init", "--quiet", "--initial-branch=main") },
		func() error { return git(ctx, work, "add", ".") },
		func() error { return git(ctx, work, "commit", "--quiet", "-m", "First edition") },
		func() error { return git(ctx, work, "tag", "v1") },
		func() error { return os.WriteFile(page, []byte(second), 0o644) },
		func() error { return git(ctx, work, "commit", "--quiet", "-am", "Second edition") },
		func() error { return git(ctx, dir, "clone", "--quiet", "--bare", work, bare) },
	} {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

// git runs it with a fixed author and date, and nothing of the user's
// configuration.
func git(ctx context.Context, dir string, args ...string) error {
	cmd := exec.CommandContext(ctx, "git", args...)
	cmd.Dir, cmd.Env = dir, append(os.Environ(),
		"GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_SYSTEM=/dev/null",
		"GIT_AUTHOR_NAME=Example", "GIT_AUTHOR_EMAIL=example@localhost", "GIT_AUTHOR_DATE=2026-01-01T00:00:00Z",
		"GIT_COMMITTER_NAME=Example", "GIT_COMMITTER_EMAIL=example@localhost", "GIT_COMMITTER_DATE=2026-01-01T00:00:00Z",
	)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("git %s: %w\n%s", args[0], err, out)
	}
	return nil
}

// serve answers git clients out of the repositories in dir, in the background.
func serve(ctx context.Context, listen, dir string) (*http.Server, error) {
	programs, err := exec.CommandContext(ctx, "git", "--exec-path").Output()
	if err != nil {
		return nil, fmt.Errorf("git --exec-path: %w", err)
	}
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", listen)
	if err != nil {
		return nil, err
	}
	server := &http.Server{ReadHeaderTimeout: 10 * time.Second, Handler: &cgi.Handler{
		Path: filepath.Join(strings.TrimSpace(string(programs)), "git-http-backend"),
		Env:  []string{"GIT_PROJECT_ROOT=" + dir, "GIT_HTTP_EXPORT_ALL=1"},
	}}
	go func() { _ = server.Serve(l) }() // until Close
	return server, nil
}
