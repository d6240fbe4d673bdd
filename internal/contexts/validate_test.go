package contexts

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
)

func TestPlanRefuses(t *testing.T) {
	deep := &Manifest{}
	for i := range 256 {
		deep.Entries = append(deep.Entries, dirEntry(strings.TrimSuffix(strings.Repeat("d/", i+1), "/")))
	}
	mode := fileEntry("a", "x")
	mode.Mode = 0o4755
	empty := fileEntry("a", "x")
	empty.Size = 0
	sized := fileEntry("a", "")
	sized.Size = 5
	fat := dirEntry("a")
	fat.Size = 1
	negative := fileEntry("a", "x")
	negative.Size = -1
	shorter := fileEntry("b", "xx")
	shorter.Size = 1
	typed := dirEntry("a")
	typed.Type = 'b'
	tests := []struct {
		name    string
		entries []Entry
		names   string // what the error has to name
	}{
		{"empty path", []Entry{fileEntry("", "x")}, `""`},
		{"root", []Entry{dirEntry(".")}, `"."`},
		{"absolute", []Entry{fileEntry("/etc/passwd", "x")}, "/etc/passwd"},
		{"parent", []Entry{fileEntry("../a", "x")}, "../a"},
		{"parent inside", []Entry{dirEntry("a"), fileEntry("a/../../b", "x")}, "a/../../b"},
		{"dot inside", []Entry{dirEntry("a"), fileEntry("a/./b", "x")}, "a/./b"},
		{"two slashes", []Entry{dirEntry("a"), fileEntry("a//b", "x")}, "a//b"},
		{"slash at the end", []Entry{dirEntry("a/")}, `"a/"`},
		{"NUL", []Entry{fileEntry("a\x00b", "x")}, `a\x00b`},
		{"not UTF-8", []Entry{fileEntry("a\xff", "x")}, `a\xff`},
		{"long name", []Entry{fileEntry(strings.Repeat("n", 256), "x")}, "nnn"},
		{"long path", []Entry{fileEntry(strings.Repeat("n/", 2049), "x")}, "n/n/n"},
		{"deep", deep.Entries, "d/d/d"},
		{"twice", []Entry{fileEntry("a", "x"), fileEntry("a", "y")}, `"a"`},
		{"folder twice", []Entry{dirEntry("a"), fileEntry("a/b", "x"), dirEntry("a")}, `"a"`},
		{"out of order", []Entry{fileEntry("b", "x"), fileEntry("a", "x")}, `"a"`},
		{"below a file", []Entry{fileEntry("a", "x"), fileEntry("a/b", "x")}, "a/b"},
		{"below a link", []Entry{linkEntry("a", "."), fileEntry("a/b", "x")}, "a/b"},
		{"below nothing", []Entry{fileEntry("a/b", "x")}, "a/b"},
		{"below a folder that is over", []Entry{dirEntry("a"), fileEntry("b", "x"), fileEntry("c/d", "x")}, "c/d"},
		{"setuid", []Entry{mode}, `"a"`},
		{"type", []Entry{typed}, `"a"`},
		{"no size but content", []Entry{empty}, `"a"`},
		{"size without content", []Entry{sized}, `"a"`},
		{"negative size", []Entry{negative}, `"a"`},
		{"folder with a size", []Entry{fat}, `"a"`},
		{"one content of two sizes", []Entry{fileEntry("a", "xx"), shorter}, `"b"`},
		{"empty link", []Entry{linkEntry("a", "")}, `"a"`},
		{"link with NUL", []Entry{linkEntry("a", "x\x00")}, `"a"`},
		{"long link", []Entry{linkEntry("a", strings.Repeat("x", 4096))}, `"a"`},
		{"absolute link", []Entry{linkEntry("a", "/etc/shadow")}, `"a"`},
		{"link up", []Entry{linkEntry("a", "../x")}, `"a"`},
		{"link up from below", []Entry{dirEntry("d"), linkEntry("d/a", "../../x")}, "d/a"},
		{"link down and up", []Entry{linkEntry("a", "b/../../x"), dirEntry("b")}, `"a"`},
		{"link through missing folders", []Entry{linkEntry("a", "b/c/../../../x")}, `"a"`},
		{"link up behind a link", []Entry{dirEntry("d"), linkEntry("d/up", ".."), linkEntry("e", "d/up/../x")}, `"e"`},
		{"link up behind two links", []Entry{dirEntry("d"), linkEntry("d/self", "."), linkEntry("e", "d/self/self/../../x")}, `"e"`},
	}
	s := newStore(t)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := s.Plan(t.Context(), &Manifest{Entries: tt.entries})
			if !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), tt.names) {
				t.Errorf("error %v; want ErrInvalid that names %s", err, tt.names)
			}
		})
	}
}

func TestPlanAccepts(t *testing.T) {
	tests := map[string][]Entry{
		"nothing":     nil,
		"odd names":   {fileEntry("a\nb", "x"), fileEntry(`a\b`, "x"), fileEntry("..a", "x"), fileEntry("...", "x"), fileEntry("ä", "x")},
		"inner links": {linkEntry("a", "d/f"), linkEntry("b", "./d/../d"), linkEntry("c", "."), dirEntry("d"), linkEntry("d/e", "../a"), fileEntry("d/f", "x"), linkEntry("loop", "loop"), linkEntry("none", "x/y/../z")},
	}
	for name, entries := range tests {
		m := &Manifest{Entries: entries}
		m.sort()
		if _, err := newStore(t).Plan(t.Context(), m); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	s := newStore(t)
	s.Limits.LinksOut = true
	if _, err := s.Plan(t.Context(), &Manifest{Entries: []Entry{linkEntry("python", "/usr/bin/python3"), linkEntry("up", "../x")}}); err != nil {
		t.Errorf("LinksOut: %v", err)
	}
}

func TestPlanLimits(t *testing.T) {
	big := fileEntry("a", "x")
	big.Size = 2<<30 - 1
	small := fileEntry("b", "y")
	small.Size = 2
	tests := []struct {
		name    string
		limits  Limits
		entries []Entry
	}{
		{"entries", Limits{Entries: 1}, []Entry{dirEntry("a"), dirEntry("b")}},
		{"bytes", Limits{}, []Entry{big, small}},
		{"bytes, set", Limits{Bytes: 1}, []Entry{fileEntry("a", "xy")}},
	}
	for _, tt := range tests {
		s := newStore(t)
		s.Limits = tt.limits
		if _, err := s.Plan(t.Context(), &Manifest{Entries: tt.entries}); !errors.Is(err, ErrTooLarge) {
			t.Errorf("%s: %v, want ErrTooLarge", tt.name, err)
		}
	}
}

// TestPlanHostileCost: links whose judging would be dear if every step cost as
// much as its path is long.
func TestPlanHostileCost(t *testing.T) {
	m := &Manifest{}
	name, down := strings.Repeat("n", 15), ""
	for range 250 {
		down += "/" + name
		m.Entries = append(m.Entries, dirEntry(down[1:]))
	}
	for i := range 7_000 {
		m.Entries = append(m.Entries, linkEntry(fmt.Sprintf("z%d", i), down[1:]+"/.."))
	}
	m.sort()
	began := time.Now()
	if err := m.validate(Limits{}); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(began); took > 3*time.Second { // 0.1s without the race detector
		t.Errorf("judging %d links took %v", 7_000, took)
	}
}
