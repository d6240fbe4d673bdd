package api

import (
	"net/http"

	"acrd/runner"
)

// operation is the address at which a client asks how a long-running operation
// is doing. All of ours last as long as a run.
func (s *Server) operation(r *http.Request, run string) string {
	version := r.URL.Query().Get("api-version")
	if version == "" {
		version = newestVersion
	}
	return scheme(r) + "://" + s.address(r) + rootOf(r) + "/operationStatuses/" + run + "?api-version=" + version
}

// An operationStatus is ARM's.
type operationStatus struct {
	ID     string       `json:"id"`
	Name   string       `json:"name"`
	Status string       `json:"status"`
	Error  *errorDetail `json:"error,omitempty"`
}

// showOperation tells whether a run has ended, and how.
func (s *Server) showOperation(w http.ResponseWriter, r *http.Request) error {
	run, err := s.Records.Run(r.Context(), r.PathValue("run"))
	if err != nil {
		return err
	}
	o := operationStatus{ID: rootOf(r) + "/operationStatuses/" + run.ID, Name: run.ID, Status: "InProgress"}
	if run.Status.Final() {
		o.Status = provisioning(run.Status)
	}
	if o.Status == "Failed" {
		o.Error = &errorDetail{Code: "RunFailed", Message: "The run with ID '" + run.ID + "' finished with unsuccessful status '" + string(run.Status) + "': " + run.Err}
	}
	w.Header().Set("Retry-After", "1")
	return reply(w, http.StatusOK, o)
}

// showCanceled is where the client of a cancel looks: 202 until the run has
// ended.
func (s *Server) showCanceled(w http.ResponseWriter, r *http.Request) error {
	run, err := s.Records.Run(r.Context(), r.PathValue("run"))
	if err != nil {
		return err
	}
	return s.canceling(w, r, run)
}

func (s *Server) canceling(w http.ResponseWriter, r *http.Request, run *runner.Run) error {
	if run.Status.Final() {
		w.WriteHeader(http.StatusOK)
		return nil
	}
	w.Header().Set("Location", scheme(r)+"://"+s.address(r)+rootOf(r)+"/runs/"+run.ID+"/cancel?"+r.URL.RawQuery)
	w.Header().Set("Retry-After", "1")
	w.WriteHeader(http.StatusAccepted)
	return nil
}
