package triggers

import "testing"

func TestGlob(t *testing.T) {
	for _, tt := range []struct {
		pattern, name string
		want          bool
	}{
		{"main", "main", true},
		{"main", "main2", false},
		{"release/*", "release/1", true},
		{"release/*", "release/1/2", false},
		{"release/**", "release/1/2", true},
		{"**/x", "x", true},
		{"**/x", "a/b/x", true},
		{"**/x", "ax", false},
		{"v?.?", "v1.2", true},
		{"v1.2", "v1x2", false},
		{"a[b", "a[b", true},
		{"*", "feature/x", false},
		{"**", "feature/x", true},
		{"x\xff*", "x\xffy", false}, // not UTF-8: no ref is
	} {
		if got := newGlob([]string{tt.pattern}).match(tt.name); got != tt.want {
			t.Errorf("%q and %q: %v", tt.pattern, tt.name, got)
		}
	}
}

func FuzzGlob(f *testing.F) {
	f.Add("release/**", "release/1")
	f.Fuzz(func(t *testing.T, pattern, name string) {
		newGlob([]string{pattern, "!" + pattern}).match(name)
		newPathGlob([]string{pattern}).match(name)
		if p := globPrefix(pattern); len(p) > len(pattern) {
			t.Errorf("%q begins with %q", pattern, p)
		}
	})
}
