package dockerfile

import (
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"

	"acrd/steps"
)

func seeds(f *testing.F) {
	for _, tt := range samples() {
		f.Add(tt.src, tt.o.Target, strings.Join(tt.o.BuildArgs, "\n"))
	}
}

// FuzzRead: no file makes a scan panic, and every fault says in which file it
// is.
func FuzzRead(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, src, target, args string) {
		o := Options{Name: "x", Target: target, BuildArgs: strings.Split(args, "\n"), Platforms: []string{"linux/amd64", "linux/arm64"}}
		_, err := Read([]byte(src), o)
		if fault, ok := errors.AsType[*steps.Error](err); err != nil && (!ok || fault.File != "x" || fault.Msg == "") {
			t.Errorf("%q: %T %v", src, err, err)
		}
	})
}

// FuzzBuildKit: what BuildKit builds we scan, and find the images that it asks
// for.
func FuzzBuildKit(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, src, target, args string) {
		o := Options{Target: target, BuildArgs: strings.Split(args, "\n"), Platforms: []string{"linux/amd64"}}
		if len(src) > 2000 {
			return // BuildKit has no limits
		}
		scan, err := Read([]byte(src), o)
		if limited(err) {
			return
		}
		asked, err2 := convert(t, src, o)
		if err2 != nil {
			return // it looks at more than we do
		}
		if err != nil {
			t.Fatalf("BuildKit takes %q, and we say: %v", src, err)
		}
		found := map[string]bool{}
		for _, ref := range append(scan.BuildTime, scan.Runtime) {
			if ref != "" {
				found[familiar(ref)] = true
			}
		}
		if got := slices.Sorted(maps.Keys(found)); !slices.Equal(got, asked) {
			t.Fatalf("%q: we find %q, BuildKit asks for %q", src, got, asked)
		}
	})
}

// limited says that one of our limits, or a rule of ours, has refused a file.
func limited(err error) bool {
	return err != nil && (strings.Contains(err.Error(), "more than") || strings.Contains(err.Error(), "too much work") ||
		strings.Contains(err.Error(), "frontend that is not allowed"))
}
