package registry

import (
	"encoding/json"
	"net/http"
)

// fault is an answer that refuses, in the form of the distribution-spec.
type fault struct {
	status        int
	code, message string
}

var (
	faultClosed          = &fault{http.StatusServiceUnavailable, "UNAVAILABLE", "the registry is shutting down; try again later"}
	faultNoEndpoint      = &fault{http.StatusNotFound, "UNSUPPORTED", "no such endpoint of the registry"}
	faultMethod          = &fault{http.StatusMethodNotAllowed, "UNSUPPORTED", "this endpoint does not know that method"}
	faultName            = &fault{http.StatusBadRequest, "NAME_INVALID", "use a repository name of lower-case letters, digits and single separators, at most 255 characters"}
	faultTag             = &fault{http.StatusBadRequest, "TAG_INVALID", "use a tag of at most 128 letters, digits, dots, dashes and underscores"}
	faultDigest          = &fault{http.StatusBadRequest, "DIGEST_INVALID", "use a digest like sha256:<64 lower-case hexadecimal digits>"}
	faultManifestUnknown = &fault{http.StatusNotFound, "MANIFEST_UNKNOWN", "no manifest can have that name"}
	faultManifestSize    = &fault{http.StatusRequestEntityTooLarge, "MANIFEST_INVALID", "a manifest may have at most 4 MiB"}
	faultManifestCut     = &fault{http.StatusBadRequest, "MANIFEST_INVALID", "the manifest ended early; send it again"}
	faultManifestJSON    = &fault{http.StatusBadRequest, "MANIFEST_INVALID", "the manifest is not the JSON that its media type promises"}
	faultSubject         = &fault{http.StatusBadRequest, "MANIFEST_INVALID", "the subject of the manifest has no valid digest"}
	faultUpload          = &fault{http.StatusNotFound, "BLOB_UPLOAD_UNKNOWN", "no such upload; start one with POST"}
	faultUploadType      = &fault{http.StatusUnsupportedMediaType, "BLOB_UPLOAD_INVALID", "send blobs as application/octet-stream"}
	faultRange           = &fault{http.StatusRequestedRangeNotSatisfiable, "RANGE_INVALID", "write the Content-Range of a chunk as <first>-<last>"}
	faultLast            = &fault{http.StatusBadRequest, "PAGINATION_NUMBER_INVALID", "last must be a name that this list can contain"}
	faultNoSpace         = &fault{http.StatusInsufficientStorage, "UNKNOWN", "no space is left to record this; free some, and try again"}
	faultJournal         = &fault{http.StatusInternalServerError, "UNKNOWN", "this could not be recorded, so it was not done; try again"}
	faultLocked          = &fault{http.StatusMethodNotAllowed, "REGISTRY_DISALLOWED_OPERATION", "The operation is disallowed on this registry, repository or image: an attribute of the repository, the tag or the manifest forbids it"}
	faultNameUnknown     = &fault{http.StatusNotFound, "NAME_UNKNOWN", "repository name not known to registry"}
	faultTagUnknown      = &fault{http.StatusNotFound, "TAG_UNKNOWN", "the specified tag does not exist"}
	faultManifestGone    = &fault{http.StatusNotFound, "MANIFEST_UNKNOWN", "the specified manifest does not exist"}
	faultNotDeleted      = &fault{http.StatusNotFound, "MANIFEST_UNKNOWN", "nothing of that name was deleted, or it was too long ago"}
	faultTagThere        = &fault{http.StatusConflict, "TAG_EXISTS", "the tag exists: give --force to put it to what was deleted"}
	faultRestore         = &fault{http.StatusBadRequest, "UNSUPPORTED", "what to restore is a JSON object with a tag, or nothing"}
	faultPage            = &fault{http.StatusBadRequest, "PAGINATION_NUMBER_INVALID", "n must be a number from 1"}
	faultOrder           = &fault{http.StatusBadRequest, "UNSUPPORTED", "orderby must be timeasc, timedesc or none"}
	faultAttributes      = &fault{http.StatusBadRequest, "UNSUPPORTED", "attributes are a JSON object of deleteEnabled, writeEnabled, listEnabled and readEnabled"}
	faultQuarantined     = &fault{http.StatusNotFound, "MANIFEST_UNKNOWN", "the image is in quarantine: no tag leads to it until its quarantineState is Passed"}
	faultRelease         = &fault{http.StatusForbidden, "DENIED", "the quarantine of an image is for the owner to change"}
	faultQuarantineState = &fault{http.StatusBadRequest, "UNSUPPORTED", "quarantineState is of manifests, and Quarantined, Passed or Failed"}
	faultInternal        = &fault{http.StatusInternalServerError, "UNKNOWN", "the registry could not do this; its log says why"}
)

func (f *fault) Error() string { return f.message }

func (f *fault) serve(w http.ResponseWriter) {
	type item struct {
		Code    string `json:"code"`
		Message string `json:"message"`
	}
	body, err := json.Marshal(struct {
		Errors []item `json:"errors"`
	}{[]item{{f.code, f.message}}})
	if err != nil {
		panic(err) // two strings
	}
	h := w.Header()
	for _, stale := range []string{"Content-Length", "Content-Encoding", "ETag", "Cache-Control", "Docker-Content-Digest"} {
		h.Del(stale) // of the answer that this one replaces
	}
	h.Set("Content-Type", "application/json")
	w.WriteHeader(f.status)
	_, _ = w.Write(body) // the client is gone, and nobody else wants to know
}
