package registry

import "net/http"

// response is what distribution writes its answer to.
type response struct {
	http.ResponseWriter
	subject string // told in OCI-Subject when the answer is 201
	created func() // called before that answer, if not nil

	status  int // that was sent, 0 before
	muffled bool
}

// WriteHeader sends status once: distribution answers twice when a client
// leaves in mid-upload, which net/http would report on stderr. The body of an
// internal error names files of ours, so it is replaced.
func (w *response) WriteHeader(status int) {
	if w.status != 0 {
		return
	}
	if status >= http.StatusInternalServerError {
		w.status, w.muffled = status, true
		faultInternal.serve(w.ResponseWriter)
		return
	}
	if status >= http.StatusOK {
		w.status = status
	}
	if status == http.StatusCreated && w.subject != "" {
		w.Header().Set("OCI-Subject", w.subject)
	}
	if status == http.StatusCreated && w.created != nil {
		w.created()
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *response) Write(p []byte) (int, error) {
	w.WriteHeader(http.StatusOK)
	if w.muffled {
		return len(p), nil
	}
	return w.ResponseWriter.Write(p)
}

// Unwrap serves http.ResponseController.
func (w *response) Unwrap() http.ResponseWriter { return w.ResponseWriter }
