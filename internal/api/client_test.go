package api_test

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"acrd/internal/api"
)

// TestClientToken: a daemon that redirects does not give its callers' tokens
// away, not even to another port of its host.
func TestClientToken(t *testing.T) {
	var seen []string
	note := func(w http.ResponseWriter, r *http.Request) {
		seen = append(seen, r.Header.Get("Authorization"))
		_, _ = w.Write([]byte("{}"))
	}
	other := httptest.NewServer(http.HandlerFunc(note))
	defer other.Close()
	to := other.URL
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if to != "" {
			http.Redirect(w, r, to, http.StatusTemporaryRedirect)
			return
		}
		note(w, r)
	}))
	defer s.Close()
	c, err := api.NewClient(s.URL, "t0ken")
	if err != nil {
		t.Fatal(err)
	}
	for _, target := range []string{other.URL, ""} {
		to = target
		if _, err := c.Info(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if len(seen) != 2 || seen[0] != "" || seen[1] != "Bearer t0ken" {
		t.Errorf("the other host and the daemon saw %q", seen)
	}
}
