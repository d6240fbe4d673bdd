package steps_test

import (
	"strings"
	"testing"

	"acrd/steps"
)

// order runs a graph whose steps each take as long as the next round, and
// writes the rounds: a+b c.
func order(f *steps.File) string {
	g := f.Graph()
	var rounds []string
	for ready := g.Ready(); len(ready) > 0; ready = g.Ready() {
		var ids []string
		for _, s := range ready {
			ids = append(ids, s.ID)
		}
		for _, s := range ready {
			g.Done(s.ID)
		}
		rounds = append(rounds, strings.Join(ids, "+"))
	}
	return strings.Join(rounds, " ")
}

func TestGraph(t *testing.T) {
	for name, tt := range map[string]struct {
		steps, want string
		parallel    bool
	}{
		"sequence":                   {"a, b, c", "a b c", false},
		"all at once":                {"a -, b -, c -", "a+b+c", true},
		"diamond":                    {"a, b a, c a, d b c", "a b+c d", true},
		"no when is the one before":  {"a -, b -, c", "a+b c", true}, // c waits for b only
		"the same twice":             {"a, b a a", "a b", false},
		"detached runs beside":       {"a d, b", "a b", true},
		"detached at the end, alone": {"a d", "a", false},
		"empty":                      {"", "", false},
	} {
		t.Run(name, func(t *testing.T) {
			f := parse(t, file(tt.steps))
			if got := order(f); got != tt.want {
				t.Errorf("order %q, want %q", got, tt.want)
			}
			if got := f.Parallel(); got != tt.parallel {
				t.Errorf("Parallel = %v, want %v", got, tt.parallel)
			}
		})
	}
}

// file writes a task from "id when when, id ...": - starts at once, d detaches.
func file(short string) string {
	var b strings.Builder
	b.WriteString("steps:\n")
	for one := range strings.SplitSeq(short, ",") {
		words := strings.Fields(one)
		if len(words) == 0 {
			continue
		}
		b.WriteString("  - id: " + words[0] + "\n    cmd: img\n")
		var when []string
		for _, w := range words[1:] {
			if w == "d" {
				b.WriteString("    detach: true\n")
				continue
			}
			when = append(when, "'"+w+"'")
		}
		if len(when) > 0 {
			b.WriteString("    when: [" + strings.Join(when, ", ") + "]\n")
		}
	}
	return b.String()
}

// TestGraphAfterFailure runs files of which one step fails. The steps that run
// are listed in rounds; ! is the one that fails.
func TestGraphAfterFailure(t *testing.T) {
	for name, tt := range map[string]struct{ steps, fails, want string }{
		"nobody cares":             {"a, b, c", "a", "a!"},
		"always, alone":            {"a, b, c always", "a", "a! c"},
		"always, nothing fails":    {"a, b, c always", "", "a b c"},
		"always of one step":       {"a -, b -, c always a", "b", "a+b! c"},
		"failure":                  {"a, b, c failure", "b", "a b! c"},
		"failure, nothing fails":   {"a, b, c failure, d", "", "a b d"},
		"failure of another":       {"a -, b -, c failure a", "b", "a+b!"},
		"failure of a step behind": {"a, b, c failure b", "a", "a! c"}, // b did not succeed: it never ran
		"the clean-up fails":       {"a, b always, c always", "b", "a b! c"},
		"behind a clean-up":        {"a, b always, c, d failure c", "a", "a! b d"},
		"ids of that name":         {"always, b, c always", "b", "always b!+c"},
		"a diamond":                {"a, b a, c a, d b c, e failure d", "c", "a b+c! e"},
	} {
		t.Run(name, func(t *testing.T) {
			g := parse(t, file(tt.steps)).Graph()
			var rounds []string
			for ready := g.Ready(); len(ready) > 0; ready = g.Ready() {
				var ids []string
				for _, s := range ready {
					if s.ID == tt.fails {
						g.Fail(s.ID)
						ids = append(ids, s.ID+"!")
						continue
					}
					g.Done(s.ID)
					ids = append(ids, s.ID)
				}
				rounds = append(rounds, strings.Join(ids, "+"))
			}
			if got := strings.Join(rounds, " "); got != strings.TrimSpace(tt.want) {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}
