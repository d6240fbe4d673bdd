//go:build linux

package engine

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	"acrd/internal/buildkit/control"
)

// handler serves the control API. Its caller is the daemon, so errors are
// plain text.
func (e *engine) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("PUT /runs/{run}", func(w http.ResponseWriter, req *http.Request) {
		var spec control.OpenRun
		if decode(w, req, &spec) {
			reply(w, nil, e.runs.add(req.PathValue("run"), spec))
		}
	})
	mux.HandleFunc("DELETE /runs/{run}", func(w http.ResponseWriter, req *http.Request) {
		reply(w, nil, e.runs.remove(req.PathValue("run")))
	})
	mux.HandleFunc("POST /runs/{run}/exec", e.serveExec)
	mux.HandleFunc("POST /runs/{run}/exec/{exec}/stop", e.serveStop)
	mux.HandleFunc("POST /runs/{run}/push", func(w http.ResponseWriter, req *http.Request) {
		var spec control.Push
		r, err := e.runs.get(req.PathValue("run"))
		if err != nil {
			reply(w, nil, err)
			return
		}
		if decode(w, req, &spec) {
			pushed, err := r.push(req.Context(), spec)
			reply(w, pushed, err)
		}
	})
	mux.HandleFunc("POST /free-space", func(w http.ResponseWriter, req *http.Request) {
		reply(w, nil, e.kit.worker.GarbageCollect(req.Context()))
	})
	return e.living(mux)
}

// living refuses what was meant for an engine before this one.
func (e *engine) living(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if req.Header.Get(control.LifeHeader) != e.config.Life {
			http.Error(w, "this was meant for an engine that has ended", http.StatusGone)
			return
		}
		next.ServeHTTP(w, req)
	})
}

func (e *engine) serveExec(w http.ResponseWriter, req *http.Request) {
	r, err := e.runs.get(req.PathValue("run"))
	if err != nil {
		reply(w, nil, err)
		return
	}
	var spec control.Exec
	if !decode(w, req, &spec) {
		return
	}
	if !validID.MatchString(spec.ID) {
		reply(w, nil, fmt.Errorf("execution id %q is not valid", spec.ID))
		return
	}
	w.WriteHeader(http.StatusOK)
	flusher := http.NewResponseController(w)
	out := control.NewFrameWriter(w, func() { _ = flusher.Flush() })
	_ = out.Exit(r.exec(req.Context(), spec, out))
}

func (e *engine) serveStop(w http.ResponseWriter, req *http.Request) {
	var spec control.Stop
	if !decode(w, req, &spec) {
		return
	}
	r, err := e.runs.get(req.PathValue("run"))
	if err != nil {
		reply(w, nil, err)
		return
	}
	r.stop(req.PathValue("exec"), spec.Grace)
	reply(w, nil, nil)
}

func decode(w http.ResponseWriter, req *http.Request, into any) bool {
	if err := json.NewDecoder(http.MaxBytesReader(w, req.Body, 128<<20)).Decode(into); err != nil {
		http.Error(w, "read request: "+err.Error(), http.StatusBadRequest)
		return false
	}
	return true
}

func reply(w http.ResponseWriter, value any, err error) {
	switch {
	case errors.Is(err, errNoRun):
		http.Error(w, err.Error(), http.StatusNotFound)
	case err != nil:
		http.Error(w, err.Error(), http.StatusInternalServerError)
	case value == nil:
		w.WriteHeader(http.StatusNoContent)
	default:
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(value)
	}
}
