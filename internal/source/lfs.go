package source

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	"acrd/steps"
)

// Where git-lfs finds the gateway: lfsBatch is where it asks for the addresses
// of objects, and lfsObjects, with a number, what it is told instead.
const (
	lfsBatch   = "/git/info/lfs/objects/batch"
	lfsObjects = "/lfs/"
)

// An lfsObject is where a server keeps one, and what it wants to be sent.
type lfsObject struct {
	url    *url.URL
	header http.Header
}

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
			"lfs.transfer.maxRetries=2",
			"lfs.transfer.maxRetryDelay=1",
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

// serveBatch passes on what the server says of objects, with the gateway in
// the place of their addresses. The server may keep them on another host; like
// a tarball that is redirected, they come from there without our credential.
func (g *gateway) serveBatch(w http.ResponseWriter, resp *http.Response) {
	var batch struct {
		Transfer string           `json:"transfer,omitempty"`
		Objects  []map[string]any `json:"objects"`
		HashAlgo string           `json:"hash_algo,omitempty"`
	}
	if err := json.NewDecoder(io.LimitReader(resp.Body, 16<<20)).Decode(&batch); err != nil {
		http.Error(w, "", http.StatusBadGateway)
		return
	}
	for _, object := range batch.Objects {
		actions, _ := object["actions"].(map[string]any)
		download, _ := actions["download"].(map[string]any)
		delete(object, "actions")
		if href, err := g.keep(download, resp.Request.URL); err == nil {
			object["authenticated"] = true
			object["actions"] = map[string]any{"download": map[string]any{
				"href": href, "header": map[string]string{tokenHeader: g.token},
			}}
		} else if object["error"] == nil {
			object["error"] = map[string]any{"code": http.StatusForbidden, "message": err.Error()}
		}
	}
	w.Header().Set("Content-Type", "application/vnd.git-lfs+json")
	_ = json.NewEncoder(w).Encode(batch)
}

// keep remembers where an object is, and returns its address at the gateway.
func (g *gateway) keep(download map[string]any, from *url.URL) (href string, err error) {
	address, _ := download["href"].(string)
	u, err := url.Parse(address)
	if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != from.Scheme {
		return "", errors.New("the address of the object is none that is followed")
	}
	u.User = nil
	header := http.Header{}
	wanted, _ := download["header"].(map[string]any)
	for key, value := range wanted {
		if text, ok := value.(string); ok {
			header.Set(key, text)
		}
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.objects = append(g.objects, lfsObject{u, header})
	return fmt.Sprintf("%s%s%d", g.origin, lfsObjects, len(g.objects)-1), nil
}

// forwardObject asks for the object that keep gave this number.
func (g *gateway) forwardObject(r *http.Request, number string) (*http.Response, error) {
	n, err := strconv.Atoi(number)
	g.mu.Lock()
	known := g.objects
	g.mu.Unlock()
	if err != nil || n < 0 || n >= len(known) || r.Method != http.MethodGet {
		return nil, errNotServed
	}
	req, err := http.NewRequestWithContext(r.Context(), http.MethodGet, known[n].url.String(), nil)
	if err != nil {
		return nil, plain(err)
	}
	req.Header = known[n].header.Clone()
	client := *g.client
	client.CheckRedirect = followTarball
	return client.Do(req)
}
