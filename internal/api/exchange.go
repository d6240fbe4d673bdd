package api

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"time"

	"acrd/runner"
)

// Azure's clients for a registry's data send nothing, not even a body, before
// they were asked for a token. They take the one that they have to
// /oauth2/exchange, for a refresh token, and that one to /oauth2/token, for an
// access token, which goes with their requests. A token of acrd stays what it
// is all along; the refresh token is a wrapping of it that says when it ends,
// as those clients demand.

const (
	exchangeRoot = "/oauth2/"
	// anonymous is the access token where nobody needs any.
	anonymous   = "anonymous"
	refreshLife = 3 * time.Hour // Azure's
)

// Exchange serves the addresses below /oauth2/. It is behind no guard.
func (g *Gate) Exchange() http.Handler {
	mux := http.NewServeMux()
	for operation, serve := range g.exchanges() {
		mux.HandleFunc(operation, serve)
	}
	return mux
}

// exchanges are what Exchange serves.
func (g *Gate) exchanges() map[string]http.HandlerFunc {
	return map[string]http.HandlerFunc{
		"POST " + exchangeRoot + "exchange": g.exchange,
		"POST " + exchangeRoot + "token":    g.access,
	}
}

// exchange makes a refresh token of a token of ours. Where everybody may do
// everything, any token will do.
func (g *Gate) exchange(w http.ResponseWriter, r *http.Request) {
	token := postForm(w, r, "access_token")
	if token == "" {
		token = postForm(w, r, "refresh_token")
	}
	if g.OpenRegistry {
		token = anonymous
	} else if err := g.check(r, token); err != nil {
		refuseExchange(w, err)
		return
	}
	_ = reply(w, http.StatusOK, map[string]string{"refresh_token": wrap(token, time.Now().Add(refreshLife))})
}

// access makes an access token of a refresh token, or of a user's password.
func (g *Gate) access(w http.ResponseWriter, r *http.Request) {
	token := anonymous
	if !g.OpenRegistry {
		token = unwrap(postForm(w, r, "refresh_token"))
		if postForm(w, r, "grant_type") == "password" {
			token = postForm(w, r, "password")
		}
		if err := g.check(r, token); err != nil {
			refuseExchange(w, err)
			return
		}
	}
	_ = reply(w, http.StatusOK, map[string]string{"access_token": token})
}

func postForm(w http.ResponseWriter, r *http.Request, field string) string {
	defer hurry(w)()
	r.Body = http.MaxBytesReader(w, r.Body, 1<<20)
	return r.PostFormValue(field)
}

// check is nil for a token that is good for something.
func (g *Gate) check(r *http.Request, token string) error {
	if g.isOwner(token) {
		return nil
	}
	t, err := g.find(r.Context(), token)
	if err == nil && t.expired(time.Now()) {
		return runner.ErrNotFound
	}
	return err
}

func refuseExchange(w http.ResponseWriter, err error) {
	if errors.Is(err, runner.ErrNotFound) {
		refuseRegistry(w, http.StatusUnauthorized, "UNAUTHORIZED", "give a token of acrd as the access token: 'acrd token create' makes one")
		return
	}
	w.Header().Set("Retry-After", "5")
	refuseRegistry(w, http.StatusServiceUnavailable, "UNAVAILABLE", "the daemon cannot look up tokens just now")
}

// wrap makes a JSON Web Token that nobody has signed: it proves nothing that
// the token inside does not.
func wrap(token string, until time.Time) string {
	claims, err := json.Marshal(struct {
		Expires int64  `json:"exp"`
		Token   string `json:"token"`
	}{until.Unix(), token})
	if err != nil {
		panic(err) // a number and a text
	}
	encode := base64.RawURLEncoding.EncodeToString
	return encode([]byte(`{"alg":"none","typ":"JWT"}`)) + "." + encode(claims) + "."
}

// unwrap is the token inside; empty if it is none of ours.
func unwrap(jwt string) string {
	parts := strings.Split(jwt, ".")
	if len(parts) != 3 {
		return ""
	}
	b, err := base64.RawURLEncoding.DecodeString(parts[1])
	var claims struct{ Token string }
	if err != nil || json.Unmarshal(b, &claims) != nil {
		return ""
	}
	return claims.Token
}

// challenged asks Azure's clients for the token that they wait to be asked
// for, even where none is needed.
func (g *Gate) challenged(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if isAzure(r) && r.Header.Get("Authorization") == "" {
			challenge(w, r)
			refuseRegistry(w, http.StatusUnauthorized, "UNAUTHORIZED", "authentication required")
			return
		}
		next.ServeHTTP(w, r)
	})
}

// isAzure says that one of Azure's SDKs asks.
func isAzure(r *http.Request) bool { return strings.Contains(r.UserAgent(), "azsdk-") }

// challenge says where tokens are exchanged. Docker, and others for whom the
// registry has a password, are asked for that.
func challenge(w http.ResponseWriter, r *http.Request) {
	if !isAzure(r) {
		w.Header().Set("WWW-Authenticate", `Basic realm="acrd"`)
		return
	}
	scheme := "http"
	if r.TLS != nil {
		scheme = "https"
	}
	// The scope is not looked at: a token of acrd has its own.
	w.Header().Set("WWW-Authenticate", `Bearer realm="`+scheme+`://`+r.Host+exchangeRoot+`token",service="`+r.Host+`",scope="registry:catalog:*"`)
}

// refuseRegistry is refuse in the form of OCI's API.
func refuseRegistry(w http.ResponseWriter, status int, code, message string) {
	type fault struct {
		Code    string `json:"code"`
		Message string `json:"message"`
	}
	w.Header().Set("Docker-Distribution-Api-Version", "registry/2.0")
	_ = reply(w, status, struct {
		Errors []fault `json:"errors"`
	}{[]fault{{code, message}}})
}
