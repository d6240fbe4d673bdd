package triggers

import "testing"

func TestTagPatterns(t *testing.T) {
	tags := []string{"1", "1.2", "1.2.9", "1.2.10", "1.3.0-rc.1", "2.0.0", "latest", "2026-01", "2026-11"}
	for _, tt := range []struct{ pattern, repository, newest string }{
		{"node:^1.2", "docker.io/library/node", "1.2.10"},
		{"localhost:5000/base/os:~1.2.3", "localhost:5000/base/os", "1.2.10"},
		{"r.io/a:>=1 <3", "r.io/a", "2.0.0"},
		{"r.io/a:1.2.*", "r.io/a", "1.2.10"},
		{"r.io/a:2026-*", "r.io/a", "2026-11"},
		{"r.io/a:^7", "r.io/a", ""},
	} {
		p, err := ParseTagPattern(tt.pattern)
		if err != nil {
			t.Errorf("%s: %v", tt.pattern, err)
			continue
		}
		if got := p.Newest(tags); p.Repository != tt.repository || got != tt.newest {
			t.Errorf("%s: %s of %s; want %s of %s", tt.pattern, got, p.Repository, tt.newest, tt.repository)
		}
	}
	for _, bad := range []string{"", "node", "node:", "localhost:5000/a", "a:[", "a:>>1"} {
		if _, err := ParseTagPattern(bad); err == nil {
			t.Errorf("%q is taken for a pattern", bad)
		}
	}
}
