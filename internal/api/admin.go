package api

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/url"

	"acrd/eventing/inbound"
	"acrd/internal/acr"
	"acrd/internal/secrets"
	"acrd/runner"
)

// Admin serves what is the owner's alone: tokens, secrets, whose values come in
// and never go out, and who may tell of other registries. Mount it behind a Gate.
type Admin struct {
	Tokens  Tokens
	Secrets *secrets.Local
	Sources inbound.Sources
	// Collect collects the registry's garbage.
	Collect func(ctx context.Context, c acr.Collecting) (acr.Garbage, error)
	Log     *slog.Logger // nil discards
}

// adminRoot is where the owner's own affairs are.
const adminRoot = "/acrd/v1"

// routes are all of them.
func (a *Admin) routes() []route {
	return append([]route{
		{"POST", adminRoot + "/tokens", a.createToken},
		{"GET", adminRoot + "/tokens", a.listTokens},
		{"DELETE", adminRoot + "/tokens/{name}", a.deleteToken},
		{"GET", adminRoot + "/secrets", a.listSecrets},
		{"PUT", adminRoot + "/secrets/{name}", a.setSecret},
		{"DELETE", adminRoot + "/secrets/{name}", a.deleteSecret},
		{"POST", adminRoot + "/registry/collect", a.collect},
	}, a.sourceRoutes()...)
}

// Handler serves everything below /acrd/v1.
func (a *Admin) Handler() http.Handler {
	mux := http.NewServeMux()
	for _, route := range a.routes() {
		mux.HandleFunc(route.method+" "+route.path, func(w http.ResponseWriter, r *http.Request) {
			if err := route.serve(w, r); err != nil {
				a.fail(w, r, err)
			}
		})
	}
	return mux
}

func (a *Admin) listSecrets(w http.ResponseWriter, r *http.Request) error {
	all, err := a.Secrets.List(r.Context())
	if err != nil {
		return err
	}
	return reply(w, http.StatusOK, struct {
		Value []secrets.Info `json:"value"`
	}{append([]secrets.Info{}, all...)})
}

// setSecret takes the value as the body itself, so that no JSON of it is ever
// made.
func (a *Admin) setSecret(w http.ResponseWriter, r *http.Request) error {
	value, err := io.ReadAll(http.MaxBytesReader(w, r.Body, secrets.MaxValue))
	if err != nil {
		return err
	}
	if err := a.Secrets.Set(r.Context(), r.PathValue("name"), value); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func (a *Admin) deleteSecret(w http.ResponseWriter, r *http.Request) error {
	if err := a.Secrets.Delete(r.Context(), r.PathValue("name")); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func (a *Admin) collect(w http.ResponseWriter, r *http.Request) error {
	var c acr.Collecting
	if err := decode(w, r, &c); err != nil {
		return err
	}
	if c.GraceSeconds < 0 {
		return &runner.InvalidError{Err: errors.New("graceSeconds: want a number from 0")}
	}
	g, err := a.Collect(r.Context(), c)
	if err != nil {
		return err
	}
	return reply(w, http.StatusOK, g)
}

// Collect has the daemon collect the registry's garbage.
func (c *Client) Collect(ctx context.Context, ask acr.Collecting) (acr.Garbage, error) {
	var g acr.Garbage
	return g, c.call(ctx, http.MethodPost, adminRoot+"/registry/collect", ask, &g)
}

func (a *Admin) fail(w http.ResponseWriter, r *http.Request, err error) {
	status, code := statusCode(err)
	switch {
	case errors.Is(err, ErrTokenTaken), errors.Is(err, inbound.ErrTaken):
		status, code = http.StatusConflict, "Conflict"
	case errors.Is(err, secrets.ErrNotFound), errors.Is(err, inbound.ErrNotFound):
		status, code = http.StatusNotFound, "ResourceNotFound"
	case errors.Is(err, secrets.ErrName):
		status, code = http.StatusBadRequest, "BadRequest"
	}
	message := err.Error()
	if status == http.StatusInternalServerError {
		message = "the daemon could not do this; its log says why"
		if a.Log != nil {
			a.Log.Error("request failed", "method", r.Method, "path", r.URL.Path, "err", err)
		}
	}
	refuse(w, status, code, message)
}

// refuse answers with an error of ARM's form.
func refuse(w http.ResponseWriter, status int, code, message string) {
	var body errorBody
	body.Error.Code, body.Error.Message = code, message
	_ = reply(w, status, body)
}

func decode(w http.ResponseWriter, r *http.Request, into any) error {
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxBody)).Decode(into); err != nil {
		return &runner.InvalidError{Err: err}
	}
	return nil
}

// SetSecret keeps the value of a secret.
func (c *Client) SetSecret(ctx context.Context, name string, value io.Reader) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPut, c.base+adminRoot+"/secrets/"+url.PathEscape(name), value)
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/octet-stream")
	resp, err := c.http.Do(req)
	if err != nil {
		return unwrapURL(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode >= 300 {
		return problem(resp)
	}
	return nil
}

// Secrets lists the secrets that the daemon keeps, without their values.
func (c *Client) Secrets(ctx context.Context) ([]secrets.Info, error) {
	var page struct{ Value []secrets.Info }
	err := c.call(ctx, http.MethodGet, adminRoot+"/secrets", nil, &page)
	return page.Value, err
}

// DeleteSecret forgets a secret.
func (c *Client) DeleteSecret(ctx context.Context, name string) error {
	return c.call(ctx, http.MethodDelete, adminRoot+"/secrets/"+url.PathEscape(name), nil, nil)
}
