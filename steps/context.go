package steps

import (
	"errors"
	"fmt"
	"net/url"
	"path"
	"strings"
	"unicode"
	"unicode/utf8"
)

// A ContextKind says where the files of a build come from.
type ContextKind int

// The kinds of contexts.
const (
	ContextLocal   ContextKind = iota // a folder
	ContextGit                        // a git repository
	ContextTarball                    // an archive behind http or https
	ContextOCI                        // an artifact in a registry
	ContextNone                       // no files at all: /dev/null
)

func (k ContextKind) String() string {
	names := [...]string{"local", "git", "tarball", "oci", "none"}
	if k < 0 || int(k) >= len(names) {
		return fmt.Sprintf("ContextKind(%d)", int(k))
	}
	return names[k]
}

// A Context is where the files of a build come from, as ACR writes it: a
// folder, a git URL with #ref:dir, the URL of a tarball, oci://image or
// /dev/null. One that ParseContext returned is safe to hand to the programs
// that fetch it: no part of it can be taken for an option, a shell word or a
// transport that reads this host.
type Context struct {
	Kind ContextKind

	URL string // git, tarball: without fragment and without credential
	Ref string // git: branch, tag, commit or refs/...; empty: the default branch
	Dir string // git: clean relative path with /; empty: the whole tree

	Image string // oci: registry/repository:tag, without the scheme
	Path  string // local: as written

	// User is the credential that the URL carried, nil if none. It is a field
	// of its own so that URL may be logged and stored.
	User *url.Userinfo
}

// ParseContext reads a context as ACR does. What ACR would hand to a program
// that could be tricked by it is an error that says what to write instead; no
// error shows a credential that s carried.
func ParseContext(s string) (Context, error) {
	if err := checkContext(s); err != nil {
		return Context{}, contextError(s, err)
	}
	c, err := parseContext(s)
	if err != nil {
		return Context{}, contextError(s, err)
	}
	return c, nil
}

// ParseGit reads s where only a repository can stand: a submodule, a source
// trigger. It is ParseContext, but an http URL needs no .git at its end, and
// any user may stand before host:path.
func ParseGit(s string) (Context, error) {
	if err := checkContext(s); err != nil {
		return Context{}, contextError(s, err)
	}
	c, err := parseGit(s)
	if err != nil {
		return Context{}, contextError(s, err)
	}
	return c, nil
}

// Credential is the user and password that the URL carried. A user alone is a
// personal access token: ACR sends it as the password of the user "dummy",
// because git-lfs wants both.
func (c Context) Credential() (user, password string, ok bool) {
	if c.User == nil {
		return "", "", false
	}
	user = c.User.Username()
	password, both := c.User.Password()
	if !both && c.Kind == ContextGit {
		return "dummy", user, true
	}
	return user, password, true
}

// String is the context as one would write it, with the credential and the
// values of a tarball's query (a SAS is one) blanked out. It is for people:
// only a context without either can be parsed back from it.
func (c Context) String() string {
	switch c.Kind {
	case ContextLocal:
		return c.Path
	case ContextOCI:
		return "oci://" + c.Image
	case ContextNone:
		return "/dev/null"
	}
	s := c.URL
	if before, query, ok := strings.Cut(s, "?"); ok && c.Kind == ContextTarball {
		s = before + "?" + blankValues(query)
	}
	if scheme, rest, ok := strings.Cut(s, "://"); ok && c.User != nil {
		s = scheme + "://" + blank + "@" + rest
	}
	fragment := c.Ref
	if c.Dir != "" {
		fragment += ":" + c.Dir
	}
	if fragment == "" {
		return s
	}
	if scheme, _ := splitScheme(s); scheme != "" {
		fragment = strings.ReplaceAll(fragment, "%", "%25")
	}
	return s + "#" + fragment
}

const (
	blank      = "xxxxx" // stands for a credential
	maxContext = 4096    // bytes: the longest path there is
)

func parseContext(s string) (Context, error) {
	if s == "/dev/null" {
		return Context{Kind: ContextNone}, nil
	}
	switch scheme, rest := splitScheme(s); {
	case scheme == "oci":
		return parseOCI(rest)
	case (scheme == "http" || scheme == "https") && !isGitURL(s):
		return parseTarball(s)
	case scheme != "", isTransportHelper(s), strings.HasPrefix(s, "git@"), strings.HasPrefix(s, "github.com/"):
		return parseGit(s)
	case strings.Contains(s, ".git#"):
		return Context{}, errors.New("is a repository on this machine, which is not fetched: write the folder itself, without #")
	}
	return Context{Kind: ContextLocal, Path: s}, nil
}

// checkContext refuses what is wrong in every kind of context.
func checkContext(s string) error {
	switch {
	case s == "":
		return errors.New("is empty: write a folder (. is this one), a URL, or /dev/null")
	case len(s) > maxContext:
		return fmt.Errorf("is longer than %d bytes: write a shorter path or URL", maxContext)
	case strings.HasPrefix(s, "-"):
		return errors.New("begins with a dash and would be taken for an option: write ./ before the name of a folder")
	case !utf8.ValidString(s):
		return errors.New("is not UTF-8: write it as plain text")
	case strings.ContainsFunc(s, unicode.IsControl):
		return errors.New("has a control character: write it without line breaks, tabs and the like")
	}
	return nil
}

// parseGit reads a repository, in every form that git itself would take and
// we allow.
func parseGit(s string) (Context, error) {
	switch scheme, _ := splitScheme(s); scheme {
	case "http", "https", "ssh", "git":
		return parseGitURL(s)
	case "file":
		return Context{}, errors.New("is a repository on this machine, which is not fetched: write the folder itself, without file://")
	case "":
	default:
		return Context{}, fmt.Errorf("has the scheme %q, which is not a source: write https://, http://, ssh://, git@host:path, oci:// or a folder", scheme)
	}
	if isTransportHelper(s) {
		return Context{}, errors.New("names a helper program of git, which is never run: write https://, ssh:// or git@host:path")
	}
	if strings.HasPrefix(s, "github.com/") {
		return parseGitURL("https://" + s)
	}
	return parseSCP(s)
}

// parseGitURL reads scheme://host/path#ref:dir. BuildKit's way of writing the
// fragment, ?ref=x&subdir=y, is understood too.
func parseGitURL(s string) (Context, error) {
	base, fragment, _ := strings.Cut(s, "#")
	u, user, err := parseURL(base)
	if err != nil {
		return Context{}, err
	}
	if strings.Trim(u.Path, "/") == "" {
		return Context{}, errors.New("names no repository: write scheme://host/path")
	}
	fragment, err = url.PathUnescape(fragment)
	if err != nil {
		return Context{}, errors.New("has a bad % in what follows the #: write % itself as %25")
	}
	ref, dir, _ := strings.Cut(fragment, ":")
	if u.RawQuery != "" {
		if fragment != "" {
			return Context{}, errors.New("has both a query and a fragment: write #ref:folder alone")
		}
		if ref, dir, err = parseGitQuery(u.RawQuery); err != nil {
			return Context{}, err
		}
		u.RawQuery = ""
	}
	u.ForceQuery = false
	switch u.Scheme {
	case "ssh":
		if user != nil {
			if _, has := user.Password(); has || !validUser(user.Username()) {
				return Context{}, errors.New("has a password, which ssh does not take: write ssh://user@host/path and give a key")
			}
			u.User, user = url.User(user.Username()), nil
		}
	case "git":
		if user != nil {
			return Context{}, errors.New("has a credential, which git:// would send to nobody: write https://")
		}
	}
	if user != nil && isOrganisation(u, user) {
		user = nil
	}
	return gitContext(u.String(), ref, dir, user)
}

// parseSCP reads [user@]host:path#ref:dir.
func parseSCP(s string) (Context, error) {
	remote, fragment, _ := strings.Cut(s, "#")
	ref, dir, _ := strings.Cut(fragment, ":")
	address, p, ok := strings.Cut(remote, ":")
	if !ok || strings.Contains(address, "/") {
		if strings.HasPrefix(s, "git@") {
			return Context{}, errors.New("names no path: write git@host:path")
		}
		return Context{}, errors.New("is a path on this machine, where a repository is wanted: write https://, ssh:// or git@host:path")
	}
	user, host, hasUser := strings.Cut(address, "@")
	if !hasUser {
		user, host = "git", address
	}
	if !validUser(user) || !validHost(host) || strings.Trim(p, "/") == "" ||
		strings.HasPrefix(p, "-") || strings.ContainsAny(remote, `\`) {
		return Context{}, errors.New("is not a repository: write git@host:path")
	}
	return gitContext(remote, ref, dir, nil)
}

func gitContext(remote, ref, dir string, user *url.Userinfo) (Context, error) {
	if err := CheckRef(ref); err != nil {
		return Context{}, err
	}
	dir, err := cleanDir(dir)
	if err != nil {
		return Context{}, err
	}
	return Context{Kind: ContextGit, URL: remote, Ref: ref, Dir: dir, User: user}, nil
}

// gitQuery are the keys of BuildKit's git URLs. Those that are not understood
// are known all the same, for a better error than a tarball's.
var gitQuery = map[string]bool{
	"ref": true, "branch": true, "tag": true, "commit": true, "checksum": true, "subdir": true,
	"submodules": false, "keep-git-dir": false, "fetch-by-commit": false, "mtime": false,
}

func parseGitQuery(query string) (ref, dir string, err error) {
	values, err := url.ParseQuery(query)
	if err != nil {
		return "", "", errors.New("has a malformed query: write #ref:folder instead")
	}
	for key, v := range values {
		if !gitQuery[key] || len(v) != 1 || v[0] == "" {
			return "", "", fmt.Errorf("has %q in its query, which is not understood: write #ref:folder instead", key)
		}
	}
	// The most exact one wins: a commit is what the others are expected to be.
	switch {
	case values.Has("commit"), values.Has("checksum"):
		if ref = values.Get("commit"); ref == "" {
			ref = values.Get("checksum")
		}
		if strings.Trim(strings.ToLower(ref), "0123456789abcdef") != "" {
			return "", "", errors.New("has a commit that is not hexadecimal: write ?commit= with the full hash")
		}
	case values.Has("tag"):
		ref = "refs/tags/" + values.Get("tag")
	case values.Has("branch"):
		ref = "refs/heads/" + values.Get("branch")
	default:
		ref = values.Get("ref")
	}
	return ref, strings.TrimLeft(values.Get("subdir"), "/"), nil
}

// isGitURL tells a repository behind http from a tarball, as ACR does: .git at
// the end, or an Azure DevOps address.
func isGitURL(s string) bool {
	s, _, _ = strings.Cut(s, "#")
	u, err := url.Parse(s)
	if err != nil {
		// Whichever it was meant to be, parseURL says what is wrong.
		return strings.HasSuffix(s, ".git")
	}
	values, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return false
	}
	for key := range values {
		if _, known := gitQuery[key]; !known {
			return false
		}
	}
	return strings.HasSuffix(u.Path, ".git") || isAzureRepos(u)
}

func isAzureRepos(u *url.URL) bool {
	host := strings.ToLower(u.Hostname())
	return strings.EqualFold(u.Scheme, "https") &&
		(host == "dev.azure.com" || strings.HasSuffix(host, ".visualstudio.com")) &&
		strings.Contains(strings.ToLower(u.Path), "/_git/")
}

// isOrganisation tells the name that Azure DevOps itself puts before the host
// of its clone URLs (https://contoso@dev.azure.com/contoso/...) from a token.
func isOrganisation(u *url.URL, user *url.Userinfo) bool {
	if _, both := user.Password(); both || !isAzureRepos(u) {
		return false
	}
	organisation, _, _ := strings.Cut(strings.TrimPrefix(u.Path, "/"), "/")
	if u.Hostname() != "dev.azure.com" {
		organisation, _, _ = strings.Cut(u.Hostname(), ".")
	}
	return strings.EqualFold(user.Username(), organisation)
}

// CheckRef holds ref to the rules of git-check-ref-format, so that it can
// neither be an option nor anything but a name where git reads a revision. The
// empty ref is the default branch.
func CheckRef(ref string) error {
	if ref == "" {
		return nil
	}
	if strings.HasPrefix(ref, "-") {
		return fmt.Errorf("has the ref %q, which would be taken for an option: write the full name, refs/heads/%s, if it is one", ref, ref)
	}
	bad := ref == "@" || strings.HasSuffix(ref, ".") ||
		strings.Contains(ref, "..") || strings.Contains(ref, "@{") ||
		strings.ContainsAny(ref, " ~^:?*[\\") || strings.ContainsFunc(ref, unicode.IsControl) ||
		!utf8.ValidString(ref)
	for component := range strings.SplitSeq(ref, "/") {
		bad = bad || component == "" || strings.HasPrefix(component, ".") || strings.HasSuffix(component, ".lock")
	}
	if bad {
		return fmt.Errorf("has the ref %q, which git does not allow: write a branch, a tag, a commit, pull/N/head or refs/X/Y", ref)
	}
	return nil
}

// isTransportHelper finds name::address, which makes git run git-remote-name.
func isTransportHelper(s string) bool {
	name, _, ok := strings.Cut(s, "::")
	return ok && name != "" && !strings.ContainsFunc(name, func(r rune) bool { return !isSchemeRune(r) })
}

// splitScheme returns the lower-case scheme before :// and what follows, or "".
func splitScheme(s string) (scheme, rest string) {
	scheme, rest, ok := strings.Cut(s, "://")
	if !ok || scheme == "" || strings.ContainsFunc(scheme, func(r rune) bool { return !isSchemeRune(r) }) {
		return "", s
	}
	return strings.ToLower(scheme), rest
}

func isSchemeRune(r rune) bool {
	return isASCIIAlnum(r) || strings.ContainsRune("+-.", r)
}

func isASCIIAlnum(r rune) bool {
	return '0' <= r && r <= '9' || 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z'
}

func parseOCI(image string) (Context, error) {
	if image == "" || strings.ContainsAny(image, " \\#?") || strings.HasPrefix(image, "-") || strings.HasPrefix(image, "/") {
		return Context{}, errors.New("is not an artifact: write oci://registry/repository:tag")
	}
	if registry, _, _ := strings.Cut(image, "/"); strings.Contains(registry, "@") {
		return Context{}, errors.New("has a credential, which a reference cannot carry: give it to the registry's credentials")
	}
	return Context{Kind: ContextOCI, Image: image}, nil
}

func parseTarball(s string) (Context, error) {
	s, _, hasFragment := strings.Cut(s, "#")
	if hasFragment {
		return Context{}, errors.New("has a #, which a tarball cannot have: write .git before the # if this is a repository")
	}
	u, user, err := parseURL(s)
	if err != nil {
		return Context{}, err
	}
	return Context{Kind: ContextTarball, URL: u.String(), User: user}, nil
}

// contextError puts s before its fault, without the credential it may carry.
// s may be malformed, so that everything up to the last @ counts as one.
func contextError(s string, err error) error {
	scheme, rest, ok := strings.Cut(s, "://")
	if !ok {
		scheme, rest = "", s
	}
	if i := strings.LastIndex(rest, "@"); i >= 0 && (ok || strings.Contains(rest[:i], ":")) {
		rest = blank + rest[i:]
	}
	if before, query, has := strings.Cut(rest, "?"); has && ok {
		query, fragment, hasFragment := strings.Cut(query, "#")
		rest = before + "?" + blankValues(query)
		if hasFragment {
			rest += "#" + fragment
		}
	}
	if ok {
		rest = scheme + "://" + rest
	}
	if len(rest) > 256 {
		rest = rest[:256] + "..."
	}
	return fmt.Errorf("context %q %w", rest, err)
}

// blankValues hides the values of a query, which in a SAS is a credential.
func blankValues(query string) string {
	parts := strings.Split(query, "&")
	for i, part := range parts {
		if key, _, ok := strings.Cut(part, "="); ok {
			parts[i] = key + "=" + blank
		} else if part != "" {
			parts[i] = blank
		}
	}
	return strings.Join(parts, "&")
}

// parseURL splits the credential off a URL that names a host. The errors of
// net/url quote what they read, so none is passed on.
func parseURL(s string) (*url.URL, *url.Userinfo, error) {
	if strings.Contains(s, `\`) {
		return nil, nil, errors.New(`has a backslash: write / in a URL`)
	}
	u, err := url.Parse(s)
	if err != nil || u.Opaque != "" {
		return nil, nil, errors.New("is not a URL: write scheme://host/path, with special characters as %XX")
	}
	u.Scheme, u.Host = strings.ToLower(u.Scheme), strings.ToLower(u.Host)
	if !validHost(u.Hostname()) {
		return nil, nil, errors.New("has no valid host: write scheme://host/path, and a host of another alphabet as xn--")
	}
	if strings.ContainsFunc(u.Path, unicode.IsControl) || strings.Contains(u.Path, `\`) {
		return nil, nil, errors.New("has a control character or a backslash behind a %: write a plain path")
	}
	user := u.User
	u.User, u.Fragment, u.RawFragment = nil, "", ""
	if user != nil && user.Username() == "" {
		if password, _ := user.Password(); password == "" {
			user = nil
		}
	}
	if user != nil {
		password, _ := user.Password()
		if strings.ContainsFunc(user.Username()+password, unicode.IsControl) {
			return nil, nil, errors.New("has a control character in its credential: write it as it was given to you")
		}
	}
	return u, user, nil
}

// validHost accepts ASCII names and addresses. A zone (%eth0) is refused: it only
// means something to link-local addresses, which are never a source.
func validHost(host string) bool {
	if host == "" || strings.HasPrefix(host, "-") {
		return false
	}
	return !strings.ContainsFunc(host, func(r rune) bool {
		return !isASCIIAlnum(r) && !strings.ContainsRune("-._:", r)
	})
}

// validUser accepts the login names that ssh servers have.
func validUser(user string) bool {
	return user != "" && !strings.HasPrefix(user, "-") && !strings.ContainsFunc(user, func(r rune) bool {
		return !isASCIIAlnum(r) && !strings.ContainsRune("._-", r)
	})
}

// cleanDir checks the folder after #ref: and returns it clean.
func cleanDir(dir string) (string, error) {
	if dir == "" {
		return "", nil
	}
	if strings.HasPrefix(dir, "/") {
		return "", errors.New("has an absolute folder: write it relative to the repository, #ref:folder")
	}
	clean := path.Clean(dir)
	if clean == ".." || strings.HasPrefix(clean, "../") {
		return "", errors.New("has a folder outside the repository: write one that is inside, #ref:folder")
	}
	if strings.ContainsFunc(clean, unicode.IsControl) || strings.Contains(clean, `\`) || !utf8.ValidString(clean) {
		return "", errors.New("has a control character or a backslash in its folder: write a plain path, #ref:folder")
	}
	if strings.HasPrefix(clean, "-") {
		return "", errors.New("has a folder that begins with a dash and would be taken for an option: write another, #ref:folder")
	}
	if clean == "." {
		return "", nil
	}
	return clean, nil
}
