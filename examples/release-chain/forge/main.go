// Command forge is just enough of a git server: it serves one repository,
// takes pushes to it, and tells a webhook of them, signed as Standard Webhooks
// says.
//
//	go run ./examples/release-chain/forge -hook http://localhost:5000/hooks/generic/release/defaultSourceTriggerName
//
// The repository is gone when it ends.
package main

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"flag"
	"fmt"
	"net/http"
	"net/http/cgi"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

func main() {
	f := &forge{}
	listen := flag.String("listen", "localhost:5082", "where to serve the repository, as /app.git")
	files := flag.String("files", "examples/release-chain/app", "what to put into it")
	flag.StringVar(&f.hook, "hook", "http://localhost:5000/hooks/generic/release/defaultSourceTriggerName", "whom to tell of pushes")
	flag.StringVar(&f.secret, "secret", "between-the-forge-and-acrd", "what that is signed with")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := f.serve(ctx, *listen, *files); err != nil {
		fmt.Fprintln(os.Stderr, "forge:", err)
		stop()
		os.Exit(1)
	}
}

// A forge is a git server for one repository.
type forge struct {
	hook, secret string
	git          http.Handler
}

func (f *forge) serve(ctx context.Context, listen, files string) error {
	dir, err := os.MkdirTemp("", "forge-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	if err := makeRepository(ctx, dir, files); err != nil {
		return err
	}
	programs, err := exec.CommandContext(ctx, "git", "--exec-path").Output()
	if err != nil {
		return fmt.Errorf("git --exec-path: %w", err)
	}
	f.git = &cgi.Handler{
		Path: filepath.Join(strings.TrimSpace(string(programs)), "git-http-backend"),
		Env:  []string{"GIT_PROJECT_ROOT=" + dir, "GIT_HTTP_EXPORT_ALL=1"},
	}
	server := &http.Server{Addr: listen, Handler: f, ReadHeaderTimeout: 10 * time.Second}
	context.AfterFunc(ctx, func() { _ = server.Close() })
	if err := server.ListenAndServe(); ctx.Err() == nil {
		return err
	}
	return nil
}

// makeRepository makes dir/app.git, with one commit on main.
func makeRepository(ctx context.Context, dir, files string) error {
	work, bare := filepath.Join(dir, "work"), filepath.Join(dir, "app.git")
	if err := os.CopyFS(work, os.DirFS(files)); err != nil {
		return err
	}
	for _, args := range [][]string{
		{"init", "--quiet", "--initial-branch=main"},
		{"add", "."},
		{"-c", "user.name=Example", "-c", "user.email=example@localhost", "commit", "--quiet", "-m", "The first edition"},
		{"clone", "--quiet", "--bare", work, bare},
		{"-C", bare, "config", "http.receivepack", "true"},
	} {
		cmd := exec.CommandContext(ctx, "git", args...)
		cmd.Dir = work
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("git %s: %w\n%s", strings.Join(args, " "), err, out)
		}
	}
	return nil
}

// ServeHTTP answers git, and tells of what was pushed.
func (f *forge) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.git.ServeHTTP(w, r)
	if r.Method != http.MethodPost || !strings.HasSuffix(r.URL.Path, "/git-receive-pack") {
		return
	}
	if err := f.tell(context.WithoutCancel(r.Context())); err != nil {
		fmt.Fprintln(os.Stderr, "webhook:", err)
	}
}

func (f *forge) tell(ctx context.Context) error {
	body := []byte(`{"ref": "refs/heads/main"}`)
	id, now := rand.Text(), strconv.FormatInt(time.Now().Unix(), 10)
	mac := hmac.New(sha256.New, []byte(f.secret))
	fmt.Fprintf(mac, "%s.%s.%s", id, now, body)
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, f.hook, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Webhook-Id", id)
	req.Header.Set("Webhook-Timestamp", now)
	req.Header.Set("Webhook-Signature", "v1,"+base64.StdEncoding.EncodeToString(mac.Sum(nil)))
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	fmt.Println("told of a push:", resp.Status)
	return resp.Body.Close()
}
