package triggers

import (
	"net"
	"net/url"
	"strings"

	"acrd/steps"
)

// RepositoryName is what a repository is called whatever way it is written:
// without scheme, user and .git, and with its host in small letters.
func RepositoryName(address string) string {
	c, err := steps.ParseGit(address)
	if err == nil {
		address = c.URL
	}
	host, path := "", ""
	if u, err := url.Parse(address); err == nil && u.Host != "" {
		host, path = u.Host, u.Path
		if port := u.Port(); port == map[string]string{"http": "80", "https": "443", "ssh": "22"}[u.Scheme] {
			host = u.Hostname()
		}
	} else {
		host, path, _ = strings.Cut(address, ":") // user@host:path
		host = host[strings.LastIndexByte(host, '@')+1:]
	}
	path = strings.TrimSuffix(strings.Trim(path, "/"), ".git")
	host = strings.ToLower(host)
	if strings.HasSuffix(host, "github.com") { // whose names have no case
		path = strings.ToLower(path)
	}
	return host + "/" + path
}

// repositoryHost is where looks at a repository go.
func repositoryHost(address string) string {
	host, _, _ := strings.Cut(RepositoryName(address), "/")
	if h, _, err := net.SplitHostPort(host); err == nil {
		return h
	}
	return host
}

// pinned is a context at a commit: its folder stays. A context of another
// repository is none of the commit's business, and empty is returned.
func pinned(context, repository, commit string) string {
	c, err := steps.ParseContext(context)
	if err != nil || c.Kind != steps.ContextGit || RepositoryName(c.URL) != RepositoryName(repository) {
		return ""
	}
	address, _, _ := strings.Cut(context, "#")
	address, _, _ = strings.Cut(address, "?")
	if c.Dir != "" {
		commit += ":" + c.Dir
	}
	return address + "#" + commit
}

func isHex(s string) bool {
	return s != "" && strings.Trim(s, "0123456789abcdefABCDEF") == ""
}

// isCommit tells the full hash of something.
func isCommit(s string) bool {
	return (len(s) == 40 || len(s) == 64) && isHex(s) && strings.Trim(s, "0") != ""
}
