package inbound

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/textproto"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// fixture reads a hook: its headers, and after an empty line its body.
func fixture(t testing.TB, name string) (http.Header, []byte) {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", name+".http"))
	if err != nil {
		t.Fatal(err)
	}
	r := bufio.NewReader(bytes.NewReader(b))
	h, err := textproto.NewReader(r).ReadMIMEHeader()
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return http.Header(h), bytes.TrimSuffix(body, []byte("\n"))
}

var (
	digestA = "sha256:" + strings.Repeat("f833", 16)
	digestB = "sha256:" + strings.Repeat("4e45", 16)
)

// TestParse has a hook of each kind, and what it says.
func TestParse(t *testing.T) {
	const manifest, oci, index = "application/vnd.docker.distribution.manifest.v2+json", "application/vnd.oci.image.manifest.v1+json", "application/vnd.oci.image.index.v1+json"
	sent := func(text string) time.Time {
		at, err := time.Parse(time.RFC3339Nano, text)
		if err != nil {
			t.Fatal(err)
		}
		return at
	}
	const event = "320678d8-ca14-430f-8bb6-4ca139cd83f"
	const host, acr = "registry.example:5000", "myregistry.azurecr.io"
	zot := Notice{ID: "7e1a3f52-57ad-4a9a-8f8c-6a8c04d1b2aa", Action: Push, Repository: "hello", Tag: "v1", Digest: digestA, MediaType: oci, Size: 2, Time: sent("2026-11-20T10:00:00.5Z")}
	with := func(n Notice, change func(*Notice)) []Notice { change(&n); return []Notice{n} }
	package1 := Notice{ID: "72d3162e-cc78-11e3-81ab-4c9367dc0958", Action: Push, Host: "ghcr.io", Repository: "octo-org/app", Tag: "v1", Digest: digestA, Time: sent("2026-11-20T10:00:00Z")}
	gitea := Notice{ID: "f6266f16-1bf3-46a5-9ea4-602e06ead473", Action: Push, Host: "gitea.example", Repository: "team/app", Tag: "v1"}
	jfrog := Notice{Action: Push, Host: "jfrog.example", Repository: "docker-local/team/app", Tag: "latest", Digest: digestA, Size: 1206}
	ecr := Notice{ID: "13cde686-328b-6117-af20-0e5566167482", Action: Push, Host: "123456789012.dkr.ecr.us-west-2.amazonaws.com", Repository: "team/app", Tag: "v1", Digest: digestA, Time: sent("2026-11-20T10:00:00Z")}
	gar := Notice{ID: "2070443601311540", Action: Push, Host: "us-east1-docker.pkg.dev", Repository: "my-project/my-repo/hello-world", Tag: "1.1", Digest: digestA, Time: sent("2026-11-20T10:00:00.5Z")}
	pushed := Notice{ID: "cb8c3971-9adc-488b-bdd8-43cbb4974ff5", Action: Push, Host: acr, Repository: "hello-world", Tag: "v1", Digest: digestA, MediaType: manifest, Size: 524, Time: sent("2017-11-17T16:52:01.343145347Z")}
	deleted := Notice{ID: pushed.ID, Action: Delete, Host: acr, Repository: "hello-world", Digest: digestA, MediaType: manifest, Time: pushed.Time}
	chart := Notice{ID: pushed.ID, Action: Push, Repository: "charts/wordpress", Tag: "5.4.0_b1", Chart: &Chart{"wordpress", "5.4.0+b1", digestB, 25265}, Time: pushed.Time}
	unchart := Notice{ID: pushed.ID, Action: Untag, Host: acr, Repository: "charts/wordpress", Tag: "5.4.0", Chart: &Chart{"wordpress", "5.4.0", digestB, 25265}, Time: pushed.Time}
	gridID := func(id string) func(*Notice) { return func(n *Notice) { n.ID = id } }
	const grid = "831e1650-001e-001b-66ab-eeb76e069631"

	for _, c := range []struct {
		kind Kind
		file string
		want []Notice
	}{
		{Distribution, "distribution-v1", []Notice{
			{ID: event + "2", Action: Push, Host: host, Repository: "hello", Tag: "v1", Digest: digestA, MediaType: manifest, Size: 401, Time: sent("2026-11-20T10:00:02.123456789Z")},
		}},
		{GitLab, "distribution-v2", []Notice{
			{ID: event + "2", Action: Push, Host: host, Repository: "team/app", Tag: "idx", Digest: digestA, MediaType: index, Size: 401, Time: sent("2026-11-20T10:00:02.123456789Z")},
			{ID: event + "4", Action: Untag, Host: host, Repository: "hello", Tag: "v2", Time: sent("2026-11-20T10:00:04.123456789Z")},
			{ID: event + "5", Action: Delete, Host: host, Repository: "hello", Digest: digestA, Time: sent("2026-11-20T10:00:05.123456789Z")},
		}},
		{Harbor, "harbor-push", []Notice{
			{Action: Push, Host: "harbor.example", Repository: "library/busybox", Tag: "v2.0", Digest: digestA, Time: sent("2023-04-03T06:04:53Z")},
			{Action: Push, Host: "harbor.example", Repository: "library/busybox", Tag: "latest", Digest: digestB, Time: sent("2023-04-03T06:04:53Z")},
		}},
		{Harbor, "harbor-delete", []Notice{{Action: Delete, Host: "harbor.example", Repository: "library/busybox", Digest: digestA, Time: sent("2023-04-03T06:04:53Z")}}},
		{Harbor, "harbor-scan", nil},
		{Harbor, "harbor-cloudevents", []Notice{
			{ID: "4b2f89a6-548d-4c12-9993-a1f5790b97d2", Action: Push, Host: "harbor.example", Repository: "library/busybox", Tag: "v2.0", Digest: digestA, Time: sent("2023-04-03T06:04:53Z")},
		}},
		{Zot, "zot-updated", []Notice{zot}},
		{Zot, "zot-chart", with(zot, func(n *Notice) { n.Tag, n.Size, n.Chart = "0.1.0", 201, &Chart{} })},
		{Zot, "zot-untag", with(zot, func(n *Notice) { n.Action = Untag })},
		{Zot, "zot-deleted", with(zot, func(n *Notice) { n.Action, n.Tag = Delete, "" })},
		{Zot, "zot-repository", nil},
		{DockerHub, "dockerhub", []Notice{{Action: Push, Host: "docker.io", Repository: "team/app", Tag: "latest", Time: sent("2014-12-03T00:22:41Z")}}},
		{GHCR, "ghcr-package", []Notice{package1}},
		{GHCR, "ghcr-registry-package", with(package1, func(n *Notice) { n.Tag = "v2" })},
		{GHCR, "ghcr-untagged", nil},
		{GHCR, "ghcr-npm", nil},
		{GHCR, "ghcr-ping", nil},
		{Quay, "quay", []Notice{
			{Action: Push, Host: "quay.io", Repository: "devtable/ubuntu", Tag: "latest"},
			{Action: Push, Host: "quay.io", Repository: "devtable/ubuntu", Tag: "22.04"},
		}},
		{Quay, "quay-old", []Notice{{Action: Push, Host: "quay.io", Repository: "devtable/ubuntu", Tag: "latest"}}},
		{Quay, "quay-build", nil},
		{Gitea, "gitea-created", []Notice{gitea}},
		{Gitea, "gitea-digest", nil},
		{Gitea, "gitea-untag", with(gitea, func(n *Notice) { n.Action = Untag })},
		{Gitea, "gitea-deleted", with(gitea, func(n *Notice) { n.Action, n.Tag, n.Digest = Delete, "", digestA })},
		{Gitea, "gitea-helm", nil},
		{Forgejo, "forgejo-created", with(gitea, gridID("a1"))},
		{JFrog, "jfrog-pushed", []Notice{jfrog}},
		{JFrog, "jfrog-deleted", with(jfrog, func(n *Notice) { n.Action = Untag })},
		{JFrog, "jfrog-artifact", nil},
		{ECR, "ecr-push", []Notice{ecr}},
		{ECR, "ecr-untag", with(ecr, func(n *Notice) { n.Action = Untag })},
		{ECR, "ecr-delete", with(ecr, func(n *Notice) { n.Action, n.Tag = Delete, "" })},
		{ECR, "ecr-failed", nil},
		{ECR, "ecr-scan", nil},
		{GAR, "gar-tag", []Notice{gar}},
		{GAR, "gar-upload", nil},
		{GAR, "gar-untag", with(gar, func(n *Notice) { n.Action, n.Digest = Untag, "" })},
		{GAR, "gar-delete", with(gar, func(n *Notice) { n.Action, n.Tag = Delete, "" })},
		{ACR, "acr-push", []Notice{pushed}},
		{ACR, "acr-delete", []Notice{deleted}},
		{ACR, "acr-chart-push", []Notice{chart}},
		{ACR, "acr-chart-delete", []Notice{unchart}},
		{ACR, "acr-quarantine", nil},
		{ACR, "acr-ping", nil},
		{EventGrid, "eventgrid", append(with(pushed, gridID(grid)), with(deleted, gridID("f06e3921-301f-42ec-b368-212f7d5354bd"))...)},
		{EventGrid, "eventgrid-cloudevent", with(pushed, gridID(grid))},
		{EventGrid, "eventgrid-batch", append(with(chart, gridID("1")), with(unchart, gridID("2"))...)},
		{Acrd, "acrd", append(with(pushed, gridID(grid)),
			Notice{ID: "2", Action: Untag, Host: acr, Repository: "hello-world", Tag: "v1", Digest: digestA, Time: pushed.Time})},
		{CloudEvents, "cloudevents-generic", []Notice{
			{ID: "ci.example 77", Action: Push, Host: "r.example", Repository: "team/app", Tag: "v1", Digest: digestA, Time: sent("2026-11-20T10:00:00Z")},
		}},
		{CloudEvents, "cloudevents-other", nil},
		{CloudEvents, "zot-updated", []Notice{zot}},
		{CloudEvents, "eventgrid-cloudevent", with(pushed, gridID(grid))},
	} {
		h, body := fixture(t, c.file)
		got, err := Parse(c.kind, h, body)
		if err != nil {
			t.Errorf("%s: %v", c.file, err)
			continue
		}
		if diff := cmp.Diff(fmt.Sprintf("%+v", values(c.want)), fmt.Sprintf("%+v", values(got))); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.file, diff)
		}
	}
}

// values are notices that compare, with charts in place of their addresses.
func values(all []Notice) []string {
	var lines []string
	for _, n := range all {
		chart := "no chart"
		if n.Chart != nil {
			chart = fmt.Sprintf("chart %+v", *n.Chart)
		}
		n.Chart, n.Time = nil, n.Time.UTC()
		lines = append(lines, fmt.Sprintf("%+v %s\n", n, chart))
	}
	return lines
}

// TestParseRefuses what is no hook of its kind, or names what can be no image.
func TestParseRefuses(t *testing.T) {
	push := func(repository, tag string) string {
		return fmt.Sprintf(`{"push_data":{"tag":%q},"repository":{"repo_name":%q}}`, tag, repository)
	}
	for _, c := range []struct {
		kind Kind
		body string
	}{
		{Distribution, ``},
		{Distribution, `[]`},
		{Distribution, `{"events":1}`},
		{Harbor, `x`},
		{Quay, `{"updated_tags":1}`},
		{DockerHub, push("../etc", "v1")},
		{DockerHub, push("a//b", "v1")},
		{DockerHub, push("A/b", "v1")},
		{DockerHub, push("a@b", "v1")},
		{DockerHub, push("", "v1")},
		{DockerHub, push("a", "-v")},
		{DockerHub, push("a", "v 1")},
		{DockerHub, push("a", "v/../1")},
		{EventGrid, `[{"eventType":"Microsoft.ContainerRegistry.ImagePushed","data":7}]`},
		{EventGrid, `{}`},
		{CloudEvents, `{"specversion":"0.3","id":"1","source":"a","type":"b"}`},
		{CloudEvents, `{"specversion":"1.0","source":"a","type":"b"}`},
		{Kind("nexus"), `{}`},
	} {
		if got, err := Parse(c.kind, http.Header{}, []byte(c.body)); err == nil {
			t.Errorf("%s %s: got %v, want an error", c.kind, c.body, got)
		}
	}
}

func FuzzParse(f *testing.F) {
	files, err := filepath.Glob("testdata/*.http")
	if err != nil {
		f.Fatal(err)
	}
	for i, file := range files {
		_, body := fixture(f, strings.TrimSuffix(filepath.Base(file), ".http"))
		f.Add(i, string(body))
	}
	for i := range Kinds {
		f.Add(i, `{"type":"PUSH_ARTIFACT","occur_at":1e300,"event_data":{"resources":[{"tag":"a"}],"repository":{"repo_full_name":"a/b"}}}`)
		f.Add(i, `{"push_data":{"tag":"a","pushed_at":1e18},"repository":{"repo_name":"a/b"}}`)
	}
	f.Fuzz(func(t *testing.T, kind int, body string) {
		h := http.Header{"X-Github-Event": {"package"}, "X-Gitea-Event": {"package"}}
		all, err := Parse(Kinds[uint(kind)%uint(len(Kinds))], h, []byte(body))
		for _, n := range all {
			if err != nil || n.check() != nil || n.Action == "" || n.Tag == "" && n.Digest == "" {
				t.Errorf("notice %+v (%v)", n, err)
			}
			if _, err := json.Marshal(n); err != nil { // as it is kept
				t.Errorf("notice %+v: %v", n, err)
			}
		}
	})
}
