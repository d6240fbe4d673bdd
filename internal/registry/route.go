package registry

import (
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"

	"acrd/internal/pattern"

	"github.com/opencontainers/go-digest"
)

type kind int

const (
	kindBase kind = iota
	kindCatalog
	kindTags
	kindManifest
	kindBlob
	kindUpload
	kindReferrers
)

// route is what a path asks for.
type route struct {
	kind kind
	name string // repository; empty for kindBase and kindCatalog
	ref  string // tag, digest or upload session; empty when a session is asked for
}

// endpoint is the route as docs/openapi.yaml has it.
func (rt route) endpoint() string {
	switch rt.kind {
	case kindCatalog:
		return "/v2/_catalog"
	case kindTags:
		return "/v2/{name}/tags/list"
	case kindManifest:
		return "/v2/{name}/manifests/{reference}"
	case kindBlob:
		return "/v2/{name}/blobs/{digest}"
	case kindReferrers:
		return "/v2/{name}/referrers/{digest}"
	case kindUpload:
		if rt.ref == "" {
			return "/v2/{name}/blobs/uploads/"
		}
		return "/v2/{name}/blobs/uploads/{session}"
	}
	return "/v2/"
}

// methods are what an endpoint knows. docs/openapi.yaml has the same, and
// nothing else gets as far as distribution.
var methods = sync.OnceValue(func() map[string][]string {
	return map[string][]string{
		"/v2/":                               {"GET", "HEAD"},
		"/v2/_catalog":                       {"GET"},
		"/v2/{name}/tags/list":               {"GET"},
		"/v2/{name}/manifests/{reference}":   {"GET", "HEAD", "PUT", "DELETE"},
		"/v2/{name}/blobs/{digest}":          {"GET", "HEAD", "DELETE"},
		"/v2/{name}/referrers/{digest}":      {"GET", "HEAD"},
		"/v2/{name}/blobs/uploads/":          {"POST"},
		"/v2/{name}/blobs/uploads/{session}": {"GET", "HEAD", "PATCH", "PUT", "DELETE"},
	}
})

// Operations are all that a registry serves, as docs/openapi.yaml names them.
func Operations() []string {
	all := slices.Collect(maps.Keys((*Registry)(nil).dataOperations()))
	for path, known := range methods() {
		for _, m := range known {
			all = append(all, m+" "+path)
		}
	}
	return all
}

const maxName = 255 // of a repository; distribution and clients agree on it

// The first two are the grammar of the distribution-spec. Distribution's own
// routes also take a host name, with capitals and a port, for the first
// component, which its storage then refuses with a 500.
var (
	nameGrammar    = pattern.New(`^[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*$`)
	tagGrammar     = pattern.New(`^[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}$`)
	sessionGrammar = pattern.New(`^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$`)
)

// parseRoute reads the decoded path. A name may contain words like manifests
// or blobs, so it is the end of a path that tells what it is.
func parseRoute(req *http.Request) (route, *fault) {
	rest, ok := strings.CutPrefix(req.URL.Path, "/v2/")
	if !ok {
		return route{}, faultNoEndpoint
	}
	switch rest {
	case "":
		return route{kind: kindBase}, nil
	case "_catalog":
		return route{kind: kindCatalog}, nil
	}
	rt, ok := splitRoute(rest)
	if !ok {
		return route{}, faultNoEndpoint
	}
	if len(rt.name) > maxName || !nameGrammar().MatchString(rt.name) {
		return route{}, faultName
	}
	return rt, checkRef(req.Method, rt)
}

// splitRoute takes "<name>/<endpoint>/<ref>" apart.
func splitRoute(path string) (route, bool) {
	if name, ok := strings.CutSuffix(path, "/tags/list"); ok {
		return route{kind: kindTags, name: name}, true
	}
	path, ref, ok := cutLast(path)
	if !ok {
		return route{}, false
	}
	if name, ok := strings.CutSuffix(path, "/blobs/uploads"); ok {
		return route{kind: kindUpload, name: name, ref: ref}, true
	}
	name, endpoint, _ := cutLast(path)
	switch endpoint {
	case "manifests":
		return route{kind: kindManifest, name: name, ref: ref}, true
	case "blobs":
		return route{kind: kindBlob, name: name, ref: ref}, true
	case "referrers":
		return route{kind: kindReferrers, name: name, ref: ref}, true
	}
	return route{}, false
}

func cutLast(path string) (before, last string, ok bool) {
	i := strings.LastIndexByte(path, '/')
	if i < 0 {
		return "", "", false
	}
	return path[:i], path[i+1:], true
}

// checkRef refuses a ref that cannot exist, in the words of its endpoint.
func checkRef(method string, rt route) *fault {
	switch {
	case rt.kind == kindTags:
		return nil
	case rt.kind == kindUpload:
		if rt.ref == "" || sessionGrammar().MatchString(rt.ref) {
			return nil
		}
		return faultUpload
	case rt.kind == kindManifest && !strings.Contains(rt.ref, ":"):
		if tagGrammar().MatchString(rt.ref) {
			return nil
		}
		if method == http.MethodPut {
			return faultTag
		}
		return faultManifestUnknown
	}
	if _, err := digest.Parse(rt.ref); err != nil {
		return faultDigest
	}
	return nil
}
