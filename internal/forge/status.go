package forge

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"acrd/steps"
)

// The kinds of forges.
const (
	GitHub = "github"
	GitLab = "gitlab"
	Gitea  = "gitea"
	Azure  = "azure"
)

// Kind guesses from the address of a repository what kind of forge has it;
// empty if its host says nothing.
func Kind(address string) string {
	u, err := repositoryURL(address)
	if err != nil {
		return ""
	}
	host := u.Hostname()
	switch {
	case host == "github.com" || strings.HasPrefix(host, "github."):
		return GitHub
	case host == "gitlab.com" || strings.HasPrefix(host, "gitlab."):
		return GitLab
	case host == "codeberg.org", strings.HasPrefix(host, "gitea."), strings.HasPrefix(host, "forgejo."):
		return Gitea
	case host == "dev.azure.com" || strings.HasSuffix(host, ".visualstudio.com"):
		return Azure
	}
	return ""
}

// A State is how far a run is.
type State int

// The states.
const (
	Pending State = iota
	Running
	Success
	Failure // the build's fault
	Error   // ours
)

// A Status is what is said of a commit.
type Status struct {
	State State
	// Context tells the statuses of one commit apart: it is the task.
	Context     string
	Description string
}

// request is what a forge of a kind wants to be sent.
func request(ctx context.Context, kind, address, token, commit string, s Status) (*http.Request, error) {
	u, err := repositoryURL(address)
	if err != nil {
		return nil, err
	}
	path := strings.TrimSuffix(strings.Trim(u.Path, "/"), ".git")
	at := url.URL{Scheme: u.Scheme, Host: u.Host}
	var body any
	header := "Bearer " + token
	common := map[string]string{"context": s.Context, "description": short(s.Description)}
	switch kind {
	case GitHub:
		common["state"] = []string{"pending", "pending", "success", "failure", "error"}[s.State]
		base := "/api/v3"
		if u.Hostname() == "github.com" {
			at.Host, base = "api.github.com", ""
		}
		at.Path, body = base+"/repos/"+path+"/statuses/"+commit, common
	case Gitea:
		common["state"] = []string{"pending", "pending", "success", "failure", "error"}[s.State]
		at.Path, body, header = "/api/v1/repos/"+path+"/statuses/"+commit, common, "token "+token
	case GitLab:
		common["state"] = []string{"pending", "running", "success", "failed", "failed"}[s.State]
		at.Path = "/api/v4/projects/" + path + "/statuses/" + commit
		at.RawPath = "/api/v4/projects/" + url.PathEscape(path) + "/statuses/" + commit
		body = common
	case Azure:
		before, name, ok := strings.Cut(path, "/_git/")
		if !ok {
			return nil, fmt.Errorf("%s is no repository of Azure DevOps", address)
		}
		at.Path = "/" + before + "/_apis/git/repositories/" + name + "/commits/" + commit + "/statuses"
		at.RawQuery = "api-version=7.1"
		header = "Basic " + base64.StdEncoding.EncodeToString([]byte(":"+token))
		body = map[string]any{
			"state": []string{"pending", "pending", "succeeded", "failed", "error"}[s.State], "description": short(s.Description),
			"context": map[string]string{"name": s.Context, "genre": "acrd"},
		}
	default:
		return nil, fmt.Errorf("%q takes no status of commits", kind)
	}
	text, err := json.Marshal(body)
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, at.String(), bytes.NewReader(text))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Authorization", header)
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Accept", "application/json")
	req.Header.Set("User-Agent", "acrd")
	return req, nil
}

// repositoryURL is the web address of a repository. One that is reached over
// ssh is at the same host over https.
func repositoryURL(address string) (*url.URL, error) {
	c, err := steps.ParseGit(address)
	if err != nil {
		return nil, err
	}
	u, err := url.Parse(c.URL)
	if err == nil && (u.Scheme == "http" || u.Scheme == "https") {
		return u, nil
	}
	if err == nil && u.Host != "" {
		return &url.URL{Scheme: "https", Host: u.Hostname(), Path: u.Path}, nil
	}
	host, path, ok := strings.Cut(c.URL[strings.IndexByte(c.URL, '@')+1:], ":")
	if !ok {
		return nil, errors.New("is no repository")
	}
	return &url.URL{Scheme: "https", Host: host, Path: "/" + path}, nil
}

// short is what every forge takes.
func short(text string) string {
	const most = 140
	if r := []rune(text); len(r) > most {
		return string(r[:most-3]) + "..."
	}
	return text
}
