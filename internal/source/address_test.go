package source

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
)

// TestDenied goes to a denied address by each kind of context, by a redirect
// and by what a registry answers.
func TestDenied(t *testing.T) {
	redirect := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "http://169.254.169.254"+r.URL.String(), http.StatusFound)
	}))
	defer redirect.Close()
	local := strings.TrimPrefix(redirect.URL, "http://")
	for _, address := range []string{
		"http://169.254.169.254/latest/meta-data", "http://168.63.129.16/x.tgz", "http://[fd00:ec2::254]/x",
		"http://[::ffff:169.254.169.254]/x", "http://169.254.169.254/x.git", "https://169.254.169.254/x.git",
		"git://169.254.169.254/x", "ssh://169.254.169.254/x", "oci://169.254.169.254/x:1",
		redirect.URL + "/x.tgz", "oci://" + local + "/x:1",
	} {
		t.Run(address, func(t *testing.T) {
			fetchInto(t, &Fetcher{Limits: quick}, address).wantError(t, "metadata")
		})
	}
	fetchInto(t, &Fetcher{Limits: quick}, redirect.URL+"/x.git").wantError(t, "redirected to http://169.254.169.254")

	// The policy is the field's, whatever the name resolves to.
	mine := errors.New("not on my network")
	f := &Fetcher{Limits: quick, Deny: func(a netip.AddrPort) error {
		if a.Addr().IsLoopback() {
			return mine
		}
		return nil
	}}
	for _, address := range []string{redirect.URL + "/x.git", redirect.URL + "/x.tgz", strings.Replace(redirect.URL, "127.0.0.1", "localhost", 1) + "/x.tgz", "git://" + local + "/x", "oci://" + local + "/x:1"} {
		if got := fetchInto(t, f, address); !errors.Is(got.err, mine) {
			t.Errorf("%s: %v; want %v", address, got.err, mine)
		}
	}
}
