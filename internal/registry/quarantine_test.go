package registry_test

import (
	"errors"
	"net/http"
	"testing"

	"acrd/eventing"
	"acrd/internal/acr"

	"github.com/google/go-cmp/cmp"
)

func (s *site) quarantine(status string) {
	s.t.Helper()
	_, err := s.reg.ChangePolicies(func(p *acr.Policies) error {
		p.Quarantine.Status = status
		return nil
	})
	if err != nil {
		s.t.Fatal(err)
	}
}

func (s *site) told(m *memory, want ...string) {
	s.t.Helper()
	s.restart() // tells what is left
	if diff := cmp.Diff(want, m.events()); diff != "" {
		s.t.Errorf("events (-want +got):\n%s", diff)
	}
}

const passed = `{"quarantineState":"Passed","quarantineDetails":"{\"scanned\":true}"}`

// TestQuarantine follows an image from its push to its release.
func TestQuarantine(t *testing.T) {
	t.Parallel()
	m := &memory{}
	s := newTellingSite(t, m)
	s.push("app:old", ociImage(t))
	s.quarantine(acr.PolicyEnabled)
	img := ociImage(t)
	d := s.push("app:v1", img).String()
	s.told(m, "ImagePushed app:old", "Acrd.ImageQuarantined app:v1")
	data := m.data(t, 1)
	if data.Action != "quarantine" || data.Target.Tag != "v1" || data.Target.Digest != d || data.Target.Size == 0 || data.Target.MediaType != "" || data.Request.UserAgent != "" {
		t.Errorf("quarantine is told as %+v %+v", data.Target, data.Request)
	}
	// The policy and the state are still there, in a registry that was opened
	// again.
	for _, method := range []string{"GET", "HEAD"} {
		s.do(method, "/v2/app/manifests/v1", nil)
		if got := s.do(method, "/v2/app/manifests/v1", nil); got.status != http.StatusNotFound {
			t.Errorf("%s of a tag in quarantine: %d", method, got.status)
		}
		if got := s.do(method, "/v2/app/manifests/"+d, nil); got.status != http.StatusOK {
			t.Errorf("%s of a digest in quarantine: %d", method, got.status)
		}
		if got := s.do(method, "/v2/app/manifests/old", nil); got.status != http.StatusOK {
			t.Errorf("%s of an older image: %d", method, got.status)
		}
	}
	raw, err := img.RawManifest()
	if err != nil {
		t.Fatal(err)
	}
	const oci = "Content-Type: application/vnd.oci.image.manifest.v1+json"
	s.want(http.StatusCreated, "", "PUT", "/v2/app/manifests/v2", raw, oci)
	manifest := "/acr/v1/app/_manifests/" + d
	s.want(http.StatusOK, "", "PATCH", manifest, []byte(`{"quarantineState":"Failed"}`))
	s.want(http.StatusNotFound, "MANIFEST_UNKNOWN", "GET", "/v2/app/manifests/v1", nil)
	s.want(http.StatusOK, "", "PATCH", manifest, []byte(passed))
	s.want(http.StatusOK, "", "PATCH", manifest, []byte(passed)) // tells nothing again
	s.want(http.StatusOK, "", "GET", "/v2/app/manifests/v1", nil)
	s.want(http.StatusCreated, "", "PUT", "/v2/app/manifests/v3", raw, oci) // is released already
	s.told(m, "ImagePushed app:old", "Acrd.ImageQuarantined app:v1", "Acrd.ImageQuarantined app:v2", "ImagePushed app:v1", "ImagePushed app:v2", "ImagePushed app:v3")
	info, err := s.data().Manifest(t.Context(), "app", d)
	if err != nil || info.Manifest.Attributes.Quarantine != acr.QuarantinePassed || info.Manifest.Attributes.QuarantineDetails != `{"scanned":true}` {
		t.Errorf("attributes %+v, %v", info, err)
	}
}

// TestQuarantineByDigest: a chart is put by its digest first, and then by its
// tag.
func TestQuarantineByDigest(t *testing.T) {
	t.Parallel()
	m := &memory{}
	s := newTellingSite(t, m)
	s.quarantine(acr.PolicyEnabled)
	c := chart(t, `{"name":"web","version":"1.0.0"}`)
	raw, err := c.RawManifest()
	if err != nil {
		t.Fatal(err)
	}
	d := s.push("charts/web:tmp", c).String()
	s.want(http.StatusAccepted, "", "DELETE", "/v2/charts/web/manifests/"+d, nil)
	const oci = "Content-Type: application/vnd.oci.image.manifest.v1+json"
	s.want(http.StatusCreated, "", "PUT", "/v2/charts/web/manifests/"+d, raw, oci)
	s.want(http.StatusCreated, "", "PUT", "/v2/charts/web/manifests/1.0.0", raw, oci)
	s.want(http.StatusNotFound, "MANIFEST_UNKNOWN", "GET", "/v2/charts/web/manifests/1.0.0", nil)
	s.want(http.StatusOK, "", "PATCH", "/acr/v1/charts/web/_manifests/"+d, []byte(passed))
	s.want(http.StatusOK, "", "GET", "/v2/charts/web/manifests/1.0.0", nil)
	s.quarantine(acr.PolicyDisabled)
	s.push("charts/web:other", ociImage(t))
	s.told(m, "Acrd.ImageQuarantined charts/web:tmp", "ChartDeleted charts/web:1.0.0", "Acrd.ImageQuarantined charts/web:1.0.0", "ChartPushed charts/web:1.0.0", "ImagePushed charts/web:other")
}

func TestQuarantineRefused(t *testing.T) {
	t.Parallel()
	s := &site{t: t, dir: t.TempDir()}
	s.with.MayRelease = func(req *http.Request) bool { return req.Header.Get("Owner") != "" }
	s.start(nil)
	t.Cleanup(s.stop)
	s.quarantine(acr.PolicyEnabled)
	d := s.push("app:v1", ociImage(t)).String()
	for _, row := range []struct {
		path, body, header string
		status             int
		code               string
	}{
		{"/acr/v1/app/_manifests/" + d, passed, "", http.StatusForbidden, "DENIED"},
		{"/acr/v1/app/_manifests/" + d, `{"quarantineState":"Fine"}`, "Owner: yes", http.StatusBadRequest, "UNSUPPORTED"},
		{"/acr/v1/app/_tags/v1", passed, "Owner: yes", http.StatusBadRequest, "UNSUPPORTED"},
		{"/acr/v1/app", passed, "Owner: yes", http.StatusBadRequest, "UNSUPPORTED"},
		{"/acr/v1/app/_manifests/" + someone.String(), passed, "Owner: yes", http.StatusNotFound, "MANIFEST_UNKNOWN"},
		{"/acr/v1/app/_manifests/" + d, `{"readEnabled":true}`, "", http.StatusOK, ""},
	} {
		header := row.header
		if header == "" {
			header = "X-Nothing: x"
		}
		s.want(row.status, row.code, "PATCH", row.path, []byte(row.body), header)
	}
	s.want(http.StatusNotFound, "MANIFEST_UNKNOWN", "GET", "/v2/app/manifests/v1", nil)
}

// TestReleaseKilled loses what the journal was to be told of a release: the
// next start finds out.
func TestReleaseKilled(t *testing.T) {
	t.Parallel()
	m := &memory{}
	s := newTellingSite(t, m)
	s.quarantine(acr.PolicyEnabled)
	d := s.push("app:v1", ociImage(t)).String()
	lost := errors.New("lost")
	m.before = func(method string) error {
		if method == "begin" {
			return lost
		}
		return nil
	}
	s.want(http.StatusInternalServerError, "UNKNOWN", "PATCH", "/acr/v1/app/_manifests/"+d, []byte(passed))
	s.want(http.StatusNotFound, "MANIFEST_UNKNOWN", "GET", "/v2/app/manifests/v1", nil)
	m.before, m.after = nil, func(method string) error { // the draft is kept, and the answer is lost
		if method == "begin" {
			return lost
		}
		return nil
	}
	s.want(http.StatusInternalServerError, "UNKNOWN", "PATCH", "/acr/v1/app/_manifests/"+d, []byte(passed))
	m.after = nil
	s.told(m, "Acrd.ImageQuarantined app:v1")
	s.want(http.StatusOK, "", "PATCH", "/acr/v1/app/_manifests/"+d, []byte(passed))
	m.mu.Lock()
	left := len(m.drafts)
	m.mu.Unlock()
	if left != 1 {
		t.Errorf("%d drafts wait, want one", left)
	}
	s.told(m, "Acrd.ImageQuarantined app:v1", "ImagePushed app:v1")
	if m.told[1].Type != eventing.ImagePushed {
		t.Errorf("told %v", m.told[1])
	}
}
