package api

import (
	"net/http"

	"acrd/internal/pattern"
)

// newestVersion is what a request without api-version gets.
const newestVersion = "2019-06-01-preview"

// versionShape is a version of any of Azure's API. Which one it is does not
// matter: each is a part of the next, and no field has changed its meaning.
var versionShape = pattern.New(`^20\d\d-[01]\d-[0-3]\d(-preview)?$`)

// A versionError says that api-version is none.
type versionError struct{ given string }

func (e *versionError) Error() string {
	return "The api-version '" + e.given + "' is invalid. The supported versions are '2018-09-01,2019-04-01,2019-06-01-preview,2025-03-01-preview'."
}

func checkVersion(r *http.Request) error {
	q := r.URL.Query()
	if v := q.Get("api-version"); q.Has("api-version") && !versionShape().MatchString(v) {
		return &versionError{v}
	}
	return nil
}
