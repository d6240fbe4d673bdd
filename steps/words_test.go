package steps

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestSplitWords(t *testing.T) {
	for line, want := range map[string][]string{
		``:                                    nil,
		`img a  b`:                            {"img", "a", "b"},
		`img 'a b' "c d"`:                     {"img", "a b", "c d"},
		`img a\ b "x\"y" 'it'\''s'`:           {"img", "a b", `x"y`, "it's"},
		`img --flag="a b"c`:                   {"img", "--flag=a bc"},
		`img $HOME ${X} "$Y"`:                 {"img", "$HOME", "${X}", "$Y"},
		`img '$HOME $(date) | > &'`:           {"img", "$HOME $(date) | > &"},
		`img "a\nb"`:                          {"img", `a\nb`},
		`img a=b c==d`:                        {"img", "a=b", "c==d"},
		`A=1 img`:                             {"A=1", "img"},
		`img {"a":1}`:                         {"img", "{a:1}"},
		`img * ? [x] ~`:                       {"img", "*", "?", "[x]", "~"},
		"img a \\\n b":                        {"img", "a", "b"},
		`img -c 'echo one; echo two && exit'`: {"img", "-c", "echo one; echo two && exit"},
		`img # comment`:                       {"img"},
		`img a#b`:                             {"img", "a#b"},
	} {
		got, err := splitWords(line)
		if err != nil {
			t.Errorf("splitWords(%q): %v", line, err)
			continue
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("splitWords(%q): want (-), got (+):\n%s", line, diff)
		}
	}
}

func TestSplitWordsRefuses(t *testing.T) {
	for line, want := range map[string]string{
		`img a | docker load`:  "| needs a shell",
		`img a && img b`:       "&& needs a shell",
		`img a > file`:         "redirection",
		`img a < file`:         "redirection",
		`img a &`:              "detach: true",
		`img $(date)`:          "need a shell",
		"img `date`":           "need a shell",
		`img "$(date)"`:        "need a shell",
		"img a\nimg b":         "more than one command",
		`img a; img b`:         "more than one command",
		`img 'a`:               "cannot be split",
		`if true; then a; fi`:  "needs a shell",
		`img a 2>&1`:           "redirection",
		`img <<EOF` + "\nEOF":  "redirection",
		`(img a)`:              "needs a shell",
		`img "a`:               "cannot be split",
		`img a || echo failed`: "|| needs a shell",
	} {
		got, err := splitWords(line)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("splitWords(%q) = %q, %v; want an error with %q", line, got, err, want)
		}
	}
}

func FuzzSplitWords(f *testing.F) {
	f.Add(`img "a $X" 'b' c\ d --e=f`)
	f.Fuzz(func(t *testing.T, line string) {
		words, err := splitWords(line)
		if err != nil {
			return
		}
		for _, w := range words {
			if !strings.ContainsRune(line, '\\') && len(w) > len(line) {
				t.Errorf("splitWords(%q): the word %q is longer than the line", line, w)
			}
		}
	})
}
