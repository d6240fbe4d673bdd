package registry

import (
	"mime"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"acrd/internal/pattern"

	"github.com/distribution/distribution/v3/manifest/manifestlist"
	"github.com/distribution/distribution/v3/manifest/schema2"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
)

// maxPage is the most entries that one answer lists.
const maxPage = 1000

var rangeGrammar = pattern.New(`^[0-9]+-[0-9]+$`)

// bound makes req one that distribution answers well, or refuses it. It may
// change req.
func bound(req *http.Request, rt route) *fault {
	switch rt.kind {
	case kindCatalog, kindTags:
		return boundList(req, rt)
	case kindManifest:
		acceptAll(req)
	case kindUpload:
		return boundUpload(req)
	}
	return nil
}

// boundList caps n, which distribution would refuse in the catalog when it is
// too large, and take for endless among tags when it is missing. A last that
// could not be on the list ends in distribution as a 500.
func boundList(req *http.Request, rt route) *fault {
	q := req.URL.Query()
	if last := q.Get("last"); last != "" {
		grammar := tagGrammar
		if rt.kind == kindCatalog {
			grammar = nameGrammar
		}
		if !grammar().MatchString(last) {
			return faultLast
		}
	}
	n, err := strconv.Atoi(q.Get("n"))
	if err == nil && n > maxPage || rt.kind == kindTags && q.Get("n") == "" {
		q.Set("n", strconv.Itoa(maxPage))
		req.URL = &url.URL{Path: req.URL.Path, RawQuery: q.Encode()}
	}
	return nil
}

// acceptAll lists all types of manifests for a client that takes anything, to
// which distribution would otherwise say that an OCI manifest is unknown.
func acceptAll(req *http.Request) {
	accept := strings.Join(req.Header.Values("Accept"), ",")
	if accept != "" && !strings.Contains(accept, "*/*") {
		return
	}
	req.Header["Accept"] = []string{
		v1.MediaTypeImageManifest, v1.MediaTypeImageIndex,
		schema2.MediaTypeManifest, manifestlist.MediaTypeManifestList,
	}
}

// boundUpload refuses with a reason what distribution answers with a 500, and
// forms, whose body distribution eats while it looks for parameters. The body
// of a POST is nothing that counts, so its parameters do not either.
func boundUpload(req *http.Request) *fault {
	if req.Method == http.MethodPost {
		req.Header.Del("Content-Type")
	}
	if req.Method != http.MethodPatch && req.Method != http.MethodPut {
		return nil
	}
	if cr := req.Header.Get("Content-Range"); cr != "" && !rangeGrammar().MatchString(cr) {
		return faultRange
	}
	ct := req.Header.Get("Content-Type")
	if req.Method == http.MethodPatch && ct != "" && ct != "application/octet-stream" {
		return faultUploadType
	}
	mediaType, _, _ := mime.ParseMediaType(ct) // what does not parse is no form either
	if mediaType == "application/x-www-form-urlencoded" || mediaType == "multipart/form-data" {
		return faultUploadType
	}
	return nil
}
