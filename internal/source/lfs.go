package source

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"acrd/steps"
)

// Where git-lfs finds the gateway: lfsBatch is where it asks for the addresses
// of objects, and lfsObjects what these are rewritten to.
const (
	lfsBatch   = "/info/lfs/objects/batch"
	lfsObjects = "/lfs/"
)

// pullLFS replaces the pointer files in dir by what they stand for, if the
// repository has any and git-lfs is installed. Like git it speaks to a gateway
// only; the server that .lfsconfig names is not asked.
func (cl *clone) pullLFS(ctx context.Context, c steps.Context, cred credential, t *tree, dir string) error {
	if !usesLFS(dir, t.attributes) {
		return nil
	}
	u, err := url.Parse(c.URL)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" {
		fmt.Fprintln(cl.out, "WARNING: git-lfs needs a repository behind http: its files are left as pointers")
		return nil
	}
	if _, err := exec.LookPath("git-lfs"); err != nil {
		fmt.Fprintln(cl.out, "WARNING: git-lfs is not installed")
		return nil
	}
	u.Path, u.RawPath = strings.TrimSuffix(strings.TrimRight(u.Path, "/"), ".git")+".git", ""
	g := cl.f.newGateway(u, cred, cl.meter)
	g.lfs = true
	if err := g.open(); err != nil {
		return err
	}
	to := g.peer(c.URL)
	defer to.close()
	err = cl.f.git(ctx, gitCommand{
		gitDir:   filepath.Join(dir, ".git"),
		workTree: dir,
		peer:     to,
		config: []string{
			"lfs.url=" + g.url() + "/info/lfs",
			"lfs.concurrentTransfers=2",
			"lfs.basicTransfersOnly=true",
			"filter.lfs.smudge=git-lfs smudge -- %f",
			"filter.lfs.process=git-lfs filter-process",
			"filter.lfs.clean=git-lfs clean -- %f",
			"filter.lfs.required=true",
		},
		args: []string{"lfs", "pull"},
	})
	if err != nil {
		return fmt.Errorf("git-lfs: %w", err)
	}
	return nil
}

// usesLFS tells whether one of the attribute files of the tree in dir names
// the filter of git-lfs.
func usesLFS(dir string, attributes []string) bool {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return false
	}
	defer root.Close()
	for _, name := range attributes {
		file, err := root.Open(name)
		if err != nil {
			continue
		}
		text, _ := io.ReadAll(io.LimitReader(file, 1<<20))
		file.Close()
		if strings.Contains(string(text), "filter=lfs") {
			return true
		}
	}
	return false
}

// serveBatch passes on the server's answer about objects, with the addresses
// of those on the server itself turned into ours. Others are left out, which
// git-lfs reports as an object that cannot be had: it is not to be sent to
// another host by whoever wrote the commit.
func (g *gateway) serveBatch(w http.ResponseWriter, resp *http.Response) {
	var batch map[string]any
	if err := json.NewDecoder(io.LimitReader(resp.Body, 16<<20)).Decode(&batch); err != nil {
		http.Error(w, "", http.StatusBadGateway)
		return
	}
	objects, _ := batch["objects"].([]any)
	for _, o := range objects {
		object, _ := o.(map[string]any)
		if object == nil {
			continue
		}
		actions, _ := object["actions"].(map[string]any)
		download, _ := actions["download"].(map[string]any)
		delete(object, "actions")
		href, _ := download["href"].(string)
		if u, err := url.Parse(href); err == nil && origin(u) == origin(resp.Request.URL) {
			u.Scheme, u.Host, u.User = "", "", nil
			download["href"] = g.origin + lfsObjects + strings.TrimPrefix(u.String(), "/")
			header, _ := download["header"].(map[string]any)
			if header == nil {
				header = map[string]any{}
			}
			header[tokenHeader] = g.token
			download["header"] = header
			object["actions"] = map[string]any{"download": download}
		} else if _, failed := object["error"]; !failed {
			object["error"] = map[string]any{"code": 403, "message": "the object is on another host, where it is not fetched"}
		}
	}
	w.Header().Set("Content-Type", "application/vnd.git-lfs+json")
	json.NewEncoder(w).Encode(batch)
}
