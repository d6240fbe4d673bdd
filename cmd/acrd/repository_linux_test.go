package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"acrd/internal/acr"

	"github.com/google/go-cmp/cmp"
)

func (s *shop) acrd(stdin string, args ...string) (code int, stdout, stderr string) {
	s.Helper()
	var out, errs bytes.Buffer
	env := map[string]string{"ACRD_SERVER": s.url, "ACRD_TOKEN": deskToken}
	code = run(s.Context(), &session{stdin: strings.NewReader(stdin), stdout: &out, stderr: &errs, getenv: func(k string) string { return env[k] }}, args)
	return code, out.String(), errs.String()
}

// says wants a command to succeed, and returns what it prints.
func (s *shop) says(args ...string) string {
	s.Helper()
	code, out, said := s.acrd("", args...)
	if code != exitOK {
		s.Fatalf("%v: %d %s", args, code, said)
	}
	return out
}

// tell wants a command to print JSON.
func (s *shop) tell(into any, args ...string) {
	s.Helper()
	out := s.says(append(args, "-o", "json")...)
	if err := json.Unmarshal([]byte(out), into); err != nil {
		s.Fatalf("%v: %v in %s", args, err, out)
	}
}

// tags are a repository's.
func (s *shop) tags(repository string) []string {
	s.Helper()
	var tags []string
	s.tell(&tags, "repository", "show-tags", "--repository", repository)
	return tags
}

// numbered is the content of an index that is like no other.
func numbered(n int) string {
	return fmt.Sprintf(`"manifests":[],"annotations":{"n":"%d"}`, n)
}

func TestRepositoryCommands(t *testing.T) {
	t.Parallel()
	s := newShop(t, false)
	one := s.index("app/manifests/v1", numbered(1))
	s.index("app/manifests/same", numbered(1))
	s.index("app/manifests/v2", numbered(2))
	s.index("team/app/manifests/v1", numbered(3))

	var names []string
	s.tell(&names, "repository", "list", "-n", "registry", "--top", "5")
	if !slices.Equal(names, []string{"app", "team/app"}) {
		t.Errorf("list: %v", names)
	}
	if got := s.says("repository", "list", "--top", "1", "-o", "tsv"); got != "app\n" {
		t.Errorf("list --top 1: %q", got)
	}
	var r acr.Repository
	s.tell(&r, "repository", "show", "--repository", "app")
	if r.Name != "app" || r.Tags != 3 || r.Manifests != 2 || r.Attributes != acr.Unlocked() {
		t.Errorf("show: %+v", r)
	}
	if got := s.tags("app"); !slices.Equal(got, []string{"same", "v1", "v2"}) {
		t.Errorf("tags: %v", got)
	}
	var tags []acr.Tag
	s.tell(&tags, "repository", "show-tags", "--repository", "app", "--detail", "--orderby", "time_desc")
	if len(tags) != 3 || tags[0].Name != "v2" || tags[2].Digest != one {
		t.Errorf("tags in detail: %+v", tags)
	}
	var short []shortManifest
	s.tell(&short, "repository", "show-manifests", "--repository", "app", "--orderby", "time_asc")
	if len(short) != 2 || !slices.Equal(short[0].Tags, []string{"same", "v1"}) {
		t.Errorf("manifests: %+v", short)
	}
	var long []acr.Manifest
	s.tell(&long, "manifest", "list-metadata", "-n", "app")
	if len(long) != 2 || long[0].MediaType == "" {
		t.Errorf("manifests in detail: %+v", long)
	}
	if got := s.says("manifest", "show", "-n", "app:v1", "--raw"); !strings.Contains(got, `,`+numbered(1)+"}") {
		t.Errorf("manifest: %s", got)
	}

	// Locks.
	var tag acr.Tag
	s.tell(&tag, "repository", "update", "--image", "app:v1", "--write-enabled", "false")
	if tag.Attributes.Write || !tag.Attributes.Delete {
		t.Errorf("update: %+v", tag)
	}
	for _, args := range [][]string{
		{"repository", "untag", "--image", "app:v1"},
		{"repository", "delete", "--image", "app@" + one, "--yes"},
		{"repository", "delete", "--repository", "app", "--yes"},
	} {
		if code, _, said := s.acrd("", args...); code != exitFailed || !strings.Contains(said, "The operation is disallowed") {
			t.Errorf("%v: %d %s", args, code, said)
		}
	}
	s.says("repository", "update", "--image", "app:v1", "--write-enabled", "true", "--delete-enabled", "true")

	// Deletion asks first, and says what goes.
	code, _, said := s.acrd("n\n", "repository", "delete", "-t", "app:v1")
	if code != exitFailed || !strings.Contains(said, "'"+one+"' and all the following images: 'app:same', 'app:v1'") {
		t.Errorf("delete: %d %s", code, said)
	}
	s.says("repository", "untag", "-t", "app:same")
	s.says("repository", "delete", "-t", "app:v1", "-y")
	if got := s.tags("app"); !slices.Equal(got, []string{"v2"}) {
		t.Errorf("left: %v", got)
	}
	s.says("repository", "delete", "--repository", "app", "--yes")
	for _, row := range []struct {
		args []string
		code int
		says string
	}{
		{[]string{"repository", "show", "--repository", "app"}, exitFailed, "repository name not known"},
		{[]string{"repository", "show", "--image", "team/app:none"}, exitFailed, "the specified tag does not exist"},
		{[]string{"repository", "show"}, exitUsage, "either --repository or --image"},
		{[]string{"repository", "show", "--image", "host:5000/app:v1"}, exitUsage, "is no image of this registry"},
		{[]string{"repository", "untag", "--image", "app@" + one}, exitUsage, "a digest is no tag"},
		{[]string{"repository", "show-tags", "--repository", "app", "--orderby", "size"}, exitUsage, "time_asc"},
		{[]string{"repository", "list", "-h"}, exitOK, ""},
		{[]string{"manifest", "show"}, exitUsage, "--name"},
	} {
		if code, _, said := s.acrd("", row.args...); code != row.code || !strings.Contains(said, row.says) {
			t.Errorf("%v: %d %s", row.args, code, said)
		}
	}
}

// age makes tags, and manifests by digest, look older.
func (s *shop) age(repository string, by time.Duration, refs ...string) {
	s.Helper()
	dir := filepath.Join(s.dir, "docker/registry/v2/repositories", repository, "_manifests")
	at := time.Now().Add(-by)
	for _, ref := range refs {
		link := filepath.Join(dir, "tags", ref, "current/link")
		if hex, ok := strings.CutPrefix(ref, "sha256:"); ok {
			link = filepath.Join(dir, "revisions/sha256", hex, "link")
		}
		if err := os.Chtimes(link, at, at); err != nil {
			s.Fatal(err)
		}
	}
}

const day = 24 * time.Hour

func TestPurge(t *testing.T) {
	t.Parallel()
	s := newShop(t, false)
	for i := range 5 {
		s.index(fmt.Sprintf("app/manifests/ci-%d", i), numbered(i))
		s.age("app", time.Duration(10-i)*day, fmt.Sprintf("ci-%d", i)) // ci-4 is 6 days old
	}
	s.index("app/manifests/v1", numbered(9))
	s.age("app", 100*day, "v1")
	s.index("other/manifests/ci-0", numbered(0))
	s.age("other", 100*day, "ci-0")

	want := "Would delete tags for repository: app\n"
	out := s.says("purge", "--filter", "app:^ci-", "--ago", "7d", "--keep", "1", "--dry-run", "--concurrency", "1")
	for _, tag := range []string{"ci-2", "ci-1", "ci-0"} {
		want += "Would delete: reg:5000/app:" + tag + "\n"
	}
	want = "DRY RUN: The following output shows what WOULD be deleted if the purge command was executed. Nothing is deleted.\n" +
		want + "\nNumber of tags to be deleted: 3\nNumber of manifests to be deleted: 0\n"
	if diff := cmp.Diff(want, out); diff != "" {
		t.Errorf("dry run (-want +got):\n%s", diff)
	}
	out = s.says("purge", "-r", "registry", "--filter", "app:^ci-", "--ago", "7d", "--keep", "1", "--concurrency", "1", "--repository-page-size", "2")
	want = "Deleting tags for repository: app\n" +
		"Deleted reg:5000/app:ci-2\nDeleted reg:5000/app:ci-1\nDeleted reg:5000/app:ci-0\n" +
		"\nNumber of deleted tags: 3\nNumber of deleted manifests: 0\n"
	if diff := cmp.Diff(want, out); diff != "" {
		t.Errorf("purge (-want +got):\n%s", diff)
	}
	if got := s.tags("app"); !slices.Equal(got, []string{"ci-3", "ci-4", "v1"}) {
		t.Errorf("left: %v", got)
	}

	// Locked tags stay unless they are included; expressions are for all.
	s.says("repository", "update", "-t", "other:ci-0", "--delete-enabled", "false")
	s.says("purge", "--filter", ".*:^ci-", "--ago", "0d")
	if got := s.tags("other"); !slices.Equal(got, []string{"ci-0"}) {
		t.Errorf("left of other: %v", got)
	}
	if got := s.tags("app"); !slices.Equal(got, []string{"v1"}) {
		t.Errorf("left of app: %v", got)
	}
	s.says("purge", "--filter", "other:.*", "--ago", "0d", "--include-locked")
	if got := s.tags("other"); len(got) > 0 {
		t.Errorf("left of other: %v", got)
	}
	if out := s.says("purge", "--filter", "nobody:.*", "--ago", "0d"); !strings.Contains(out, "nobody repository not found") {
		t.Errorf("no repository: %s", out)
	}
	for _, row := range []struct{ args, says string }{
		{"--ago 1d", "--filter is required"},
		{"--ago soon --keep -1 --untagged", "--filter is required when not using --untagged-only\n--keep: want a number from 0\n--ago soon"},
		{"--filter a:b", "--ago is required"},
		{"--filter a --ago 1d", "unable to correctly parse filter"},
		{"--filter a:( --ago 1d", "--filter a:("},
		{"--filter a:b --ago soon", "--ago soon"},
		{"--untagged --untagged-only", "give either"},
	} {
		if code, _, said := s.acrd("", append([]string{"purge"}, strings.Fields(row.args)...)...); code != exitUsage || !strings.Contains(said, row.says) {
			t.Errorf("purge %s: %d %s", row.args, code, said)
		}
	}
}

// What a purge untags it deletes in the same run, and retention counts from the
// loss of the last tag.
func TestPurge_SameRun(t *testing.T) {
	t.Parallel()
	s := newShop(t, true)
	d := s.index("app/manifests/v1", numbered(1))
	s.index("app/manifests/v2", numbered(2))
	s.age("app", 10*day, "v1", d)
	policy := func(since time.Time) int {
		t.Helper()
		p := &acr.Purge{
			Client: &acr.Client{HTTP: http.DefaultClient, Base: s.url}, Out: io.Discard,
			UntaggedOnly: true, Retention: true, Ago: day, Since: since, DryRun: true,
		}
		if err := p.Run(t.Context()); err != nil {
			t.Fatal(err)
		}
		_, n := p.Removed()
		return n
	}
	if out := s.says("purge", "--filter", "app:.*", "--ago", "7d", "--untagged", "--dry-run"); !strings.Contains(out, "tags to be deleted: 1\nNumber of manifests to be deleted: 1\n") {
		t.Errorf("dry run: %s", out)
	}
	s.says("repository", "untag", "-t", "app:v1")
	if n := policy(time.Time{}); n != 0 {
		t.Errorf("retention would delete %d, of what has lost its tag just now", n)
	}
	if out := s.says("purge", "--filter", "app:.*", "--ago", "7d", "--untagged"); !strings.Contains(out, "deleted manifests: 1\n") {
		t.Errorf("purge: %s", out)
	}
	old := s.index("app/manifests/v3", numbered(3))
	s.says("repository", "untag", "-t", "app:v3")
	s.age("app", 2*day, old)
	dir := filepath.Join(s.dir, "docker/registry/v2/repositories/app/_manifests/revisions/sha256", strings.TrimPrefix(old, "sha256:"))
	at := time.Now().Add(-2 * day)
	if err := os.Chtimes(dir, at, at); err != nil {
		t.Fatal(err)
	}
	if n := policy(time.Time{}); n != 1 {
		t.Errorf("retention would delete %d, want 1", n)
	}
	if n := policy(time.Now().Add(-day)); n != 0 {
		t.Errorf("retention would delete %d, of before it was set", n)
	}
}

// TestPurge_Untagged has every relation between manifests that keeps one, or
// does not.
func TestPurge_Untagged(t *testing.T) {
	t.Parallel()
	s := newShop(t, false)
	put := func(name, content string) string { return s.index("app/manifests/"+name, content) }
	digestOf := func(content string) string { return put("tmp", content) }
	part := func(d string) string {
		return `"manifests":[{"mediaType":"application/vnd.oci.image.index.v1+json","digest":"` + d + `","size":1}]`
	}
	about := func(d string, n int) string {
		return `"subject":{"mediaType":"application/vnd.oci.image.index.v1+json","digest":"` + d + `","size":1},` + numbered(n)
	}
	names := map[string]string{}
	for _, m := range []struct{ name, content string }{{"alone", numbered(1)}, {"in kept index", numbered(2)}, {"in useless index", numbered(3)}, {"young", numbered(4)}, {"locked", numbered(5)}} {
		names[digestOf(m.content)] = m.name
	}
	by := func(name string) string {
		for d, n := range names {
			if n == name {
				return d
			}
		}
		t.Fatal(name)
		return ""
	}
	names[put("v1", part(by("in kept index")))] = "tagged index"
	names[digestOf(part(by("in useless index")))] = "useless index"
	names[digestOf(about(by("tagged index"), 6))] = "referrer of kept"
	names[digestOf(about(by("referrer of kept"), 7))] = "referrer of the referrer"
	names[digestOf(about(by("alone"), 8))] = "referrer of useless"
	names[digestOf(about("sha256:"+strings.Repeat("0", 64), 9))] = "referrer of nothing"
	s.says("repository", "untag", "-t", "app:tmp")
	for d, name := range names {
		if name != "young" {
			s.age("app", 10*day, d)
		}
	}
	s.says("repository", "update", "-t", "app@"+by("locked"), "--delete-enabled", "false")

	out := s.says("purge", "--filter", "app:nothing", "--ago", "5d", "--untagged", "--dry-run")
	if !strings.Contains(out, "Number of manifests to be deleted: 5\n") {
		t.Errorf("dry run: %s", out)
	}
	out = s.says("purge", "--untagged-only", "--ago", "5d")
	if !strings.Contains(out, "Number of deleted manifests: 5\n") || !strings.Contains(out, "Deleted reg:5000/app@"+by("alone")) {
		t.Errorf("purge: %s", out)
	}
	var left []acr.Manifest
	s.tell(&left, "manifest", "list-metadata", "-n", "app")
	var got []string
	for _, m := range left {
		got = append(got, names[m.Digest])
	}
	slices.Sort(got)
	want := []string{"in kept index", "locked", "referrer of kept", "referrer of the referrer", "tagged index", "young"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("left (-want +got):\n%s", diff)
	}
	s.says("purge", "--untagged-only", "--include-locked")
	if s.tell(&left, "manifest", "list-metadata", "-n", "app"); len(left) != 4 {
		t.Errorf("%d are left, want 4", len(left))
	}
}

// --keep counts manifests by themselves, and what is kept keeps what it needs.
func TestPurge_KeepUntagged(t *testing.T) {
	t.Parallel()
	s := newShop(t, false)
	names := map[string]string{}
	put := func(name, content string, age int) string {
		d := s.index("app/manifests/tmp", content)
		names[d] = name
		s.age("app", time.Duration(age)*day, d)
		return d
	}
	part := put("in index", numbered(1), 90)
	put("index", `"manifests":[{"mediaType":"application/vnd.oci.image.index.v1+json","digest":"`+part+`","size":1}]`, 20)
	put("old", numbered(2), 40)
	put("older", numbered(3), 50)
	put("young", numbered(4), 1)
	s.says("repository", "untag", "-t", "app:tmp")
	left := func() []string {
		t.Helper()
		var all []acr.Manifest
		s.tell(&all, "manifest", "list-metadata", "-n", "app")
		var got []string
		for _, m := range all {
			got = append(got, names[m.Digest])
		}
		slices.Sort(got)
		return got
	}
	s.says("purge", "--untagged-only", "--filter", "app:nothing", "--ago", "10d", "--keep", "2")
	if diff := cmp.Diff([]string{"in index", "index", "old", "young"}, left()); diff != "" {
		t.Errorf("of three that are old two stay (-want +got):\n%s", diff)
	}
	if out := s.says("purge", "--filter", "app:.*", "--ago", "10d", "--untagged", "--keep", "1"); !strings.Contains(out, "deleted tags: 0\nNumber of deleted manifests: 1\n") {
		t.Errorf("purge: %s", out)
	}
	if diff := cmp.Diff([]string{"in index", "index", "young"}, left()); diff != "" {
		t.Errorf("then one of two (-want +got):\n%s", diff)
	}
}

// TestManifestLists: the manifests themselves, and who refers to one.
func TestManifestLists(t *testing.T) {
	t.Parallel()
	s := newShop(t, false)
	base := s.index("team/app/manifests/v1", numbered(1))
	about := func(d, kind string, n int) string {
		return s.index("team/app/manifests/tmp", `"artifactType":"`+kind+`","subject":{"mediaType":"application/vnd.oci.image.index.v1+json","digest":"`+d+`","size":1},`+numbered(n))
	}
	bom := about(base, "application/bom", 2)
	signed := about(base, "application/signature", 3)
	deep := about(bom, "application/signature", 4)
	digests := func(args ...string) []string {
		t.Helper()
		var all acr.Referrers
		s.tell(&all, append([]string{"manifest", "list-referrers"}, args...)...)
		var got []string
		for _, d := range all.Manifests {
			got = append(got, d.Digest)
		}
		slices.Sort(got)
		return got
	}
	for _, row := range []struct {
		args []string
		want []string
	}{
		{[]string{"-n", "team/app:v1"}, []string{bom, signed}},
		{[]string{"-n", "team/app@" + base, "--artifact-type", "application/bom"}, []string{bom}},
		{[]string{"reg.example:5000/team/app:v1", "--recursive"}, []string{bom, signed, deep}},
		{[]string{"-n", "team/app:v1", "--artifact-type", "application/bom", "--recursive"}, []string{bom, deep}},
		{[]string{"-n", "team/app@" + deep}, nil},
	} {
		slices.Sort(row.want)
		if diff := cmp.Diff(row.want, digests(row.args...)); diff != "" {
			t.Errorf("%v (-want +got):\n%s", row.args, diff)
		}
	}
	if out := s.says("manifest", "list-referrers", "-n", "team/app:v1", "--artifact-type", "application/bom", "-o", "tsv"); !strings.HasPrefix(out, bom+"\tapplication/bom\t") {
		t.Errorf("table: %s", out)
	}
	var bodies []struct{ Subject struct{ Digest string } }
	s.tell(&bodies, "manifest", "list", "-r", "reg", "-n", "team/app", "--orderby", "time_asc")
	if len(bodies) != 4 || bodies[0].Subject.Digest != "" || bodies[3].Subject.Digest != bom {
		t.Errorf("manifests: %+v", bodies)
	}
	if out := s.says("manifest", "list", "https://reg.example/team/app", "--top", "1", "--orderby", "time_desc", "-o", "tsv"); !strings.HasPrefix(out, deep+"\tapplication/vnd.oci.image.index.v1+json\tapplication/signature\t"+bom) {
		t.Errorf("table: %s", out)
	}
	for _, words := range []string{"manifest show -n t", "repository show-tags --repository team"} {
		if out := s.says(append([]string{"__complete"}, strings.Fields(words)...)...); out != "team/app\n" {
			t.Errorf("completion of %s: %q", words, out)
		}
	}
	for _, row := range []struct {
		args string
		code int
		says string
	}{
		{"list-referrers", exitUsage, "--name is missing"},
		{"list-referrers -n a:b c:d", exitUsage, "give one"},
		{"list-referrers -n team/app:none", exitFailed, "the specified tag does not exist"},
		{"list -n none", exitFailed, "repository name not known"},
		{"list -n team/app --orderby size", exitUsage, "time_asc"},
	} {
		if code, _, said := s.acrd("", append([]string{"manifest"}, strings.Fields(row.args)...)...); code != row.code || !strings.Contains(said, row.says) {
			t.Errorf("%s: %d %s", row.args, code, said)
		}
	}
}

func TestRestoreCommands(t *testing.T) {
	t.Parallel()
	s := newShop(t, false)
	if _, err := s.registry.ChangePolicies(func(p *acr.Policies) error {
		p.SoftDelete.Status = acr.PolicyEnabled
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	one, two := s.index("app/manifests/v1", numbered(1)), s.index("app/manifests/v2", numbered(2))
	s.says("repository", "delete", "--repository", "app", "--yes")
	var names []string
	if s.tell(&names, "repository", "list-deleted"); !slices.Equal(names, []string{"app"}) {
		t.Errorf("repositories: %v", names)
	}
	var manifests []acr.DeletedManifest
	if s.tell(&manifests, "manifest", "list-deleted", "-n", "app"); len(manifests) != 2 || manifests[0].Expires.Sub(manifests[0].Deleted) != 7*day {
		t.Errorf("manifests: %+v", manifests)
	}
	if out := s.says("manifest", "list-deleted-tags", "-n", "app:v1", "-o", "tsv"); !strings.HasPrefix(out, "v1\t"+one+"\t") || strings.Count(out, "\n") != 1 {
		t.Errorf("tags: %s", out)
	}
	s.says("manifest", "restore", "-n", "app:v1")
	s.says("manifest", "restore", "-n", "app@"+two)
	if got := s.tags("app"); !slices.Equal(got, []string{"v1"}) {
		t.Errorf("tags: %v", got)
	}
	if code, _, said := s.acrd("", "manifest", "restore", "-n", "app:v1", "-d", two); code != exitFailed || !strings.Contains(said, "--force") {
		t.Errorf("%d %s", code, said)
	}
	if out := s.says("manifest", "restore", "-n", "app:v1", "-d", two, "--force", "--yes", "-o", "tsv"); !strings.HasPrefix(out, "v1\t"+two) {
		t.Errorf("restored %s", out)
	}
	if code, _, said := s.acrd("", "manifest", "restore", "-n", "app:never"); code != exitFailed || !strings.Contains(said, "nothing of that name was deleted") {
		t.Errorf("%d %s", code, said)
	}
}
