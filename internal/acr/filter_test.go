package acr

import (
	"testing"
	"time"
)

func TestParseTagFilter(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		filter, repository, tag string
		want                    bool
	}{
		{"app:.*", "app", "v1", true},
		{"app:^ci-", "app", "ci-1", true},
		{"app:^ci-", "app", "not-ci-1", false},
		{"app:ci", "app", "not-ci-1", true},
		{"app:.*", "other/app", "v1", false},
		{".*:.*", "other/app", "v1", true},
		{"team/.*:x", "team/a/b", "x", true},
		{"(?:a|b):x", "b", "x", true},
		{"a[[:digit:]]:x", "a1", "x", true},
		{"app:^(?!keep)", "app", "keep-1", false},
		{"app:^(?!keep)", "app", "1", true},
		{"app:(?<=v)1", "app", "v1", true},
	} {
		f, err := ParseTagFilter(row.filter, time.Second)
		if err != nil {
			t.Errorf("%s: %v", row.filter, err)
			continue
		}
		repository, err := f.matchRepository(row.repository)
		if err != nil {
			t.Fatal(err)
		}
		tag, err := matchAny([]TagFilter{f}, row.tag)
		if err != nil {
			t.Fatal(err)
		}
		if got := repository && tag; got != row.want {
			t.Errorf("%s with %s:%s is %t, want %t", row.filter, row.repository, row.tag, got, row.want)
		}
	}
	for _, bad := range []string{"", "app", "app:", ":x", "a:b:c", "a:(", "(:x"} {
		if _, err := ParseTagFilter(bad, time.Second); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
}

// An expression that would take for ever ends.
func TestParseTagFilter_Timeout(t *testing.T) {
	t.Parallel()
	f, err := ParseTagFilter(`app:^(a+)+$`, 50*time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := matchAny([]TagFilter{f}, "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaab"); err == nil {
		t.Error("it has matched, or not, without an error")
	}
}

func TestParseAgo(t *testing.T) {
	t.Parallel()
	const day = 24 * time.Hour
	for text, want := range map[string]time.Duration{
		"0d": 0, "1d": day, "7d": 7 * day, "2d3h6m": 2*day + 3*time.Hour + 6*time.Minute, "1d12h": 36 * time.Hour,
		"30m": 30 * time.Minute, "999999999d": maxAgo, "150d": 150 * day,
	} {
		if got, err := ParseAgo(text); err != nil || got != want {
			t.Errorf("%s: %s, %v; want %s", text, got, err, want)
		}
	}
	for _, bad := range []string{"1", "d", "-1d", "1d2", "1w", "1d-2h"} {
		if d, err := ParseAgo(bad); err == nil {
			t.Errorf("%q is %s", bad, d)
		}
	}
}
