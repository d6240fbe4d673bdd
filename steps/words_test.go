package steps

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestSplitWords(t *testing.T) {
	for line, want := range map[string][]string{
		``:                                    nil,
		" \t\n":                               nil,
		`img a  b`:                            {"img", "a", "b"},
		"  img\ta \n":                         {"img", "a"},
		`img 'a b' "c d"`:                     {"img", "a b", "c d"},
		`img '' ""`:                           {"img", "", ""},
		`img a''b""c`:                         {"img", "abc"},
		`img a\ b "x\"y" 'it'\''s'`:           {"img", "a b", `x"y`, "it's"},
		`img "\a\$\` + "`" + `\\"`:            {"img", `\a$` + "`" + `\`},
		`img '\' a\`:                          {"img", `\`, `a\`},
		`img \| \& \; \< \> \( \) \" \' \#`:   {"img", "|", "&", ";", "<", ">", "(", ")", `"`, "'", "#"},
		`img --flag="a b"c`:                   {"img", "--flag=a bc"},
		`img $HOME ${X} "$Y" ${1} $? $$ $ $%`: {"img", "$HOME", "${X}", "$Y", "${1}", "$?", "$$", "$", "$%"},
		`img '$HOME $(date) | > &'`:           {"img", "$HOME $(date) | > &"},
		`img '${X:-y}' \$\(date\)`:            {"img", "${X:-y}", "$(date)"},
		`img "a\nb"`:                          {"img", `a\nb`},
		`img a=b c==d`:                        {"img", "a=b", "c==d"},
		`A=1 img`:                             {"A=1", "img"},
		`img {"a":1}`:                         {"img", "{a:1}"},
		`img if { ! }`:                        {"img", "if", "{", "!", "}"},
		`"if" x`:                              {"if", "x"},
		`img * ? [x] ~ {a,b} !x`:              {"img", "*", "?", "[x]", "~", "{a,b}", "!x"},
		"img a \\\n b":                        {"img", "a", "b"},
		"img a\\\nb \"c\\\nd\" 'e\\\nf'":      {"img", "ab", "cd", "e\\\nf"},
		"img 'a\nb' \"c\nd\"":                 {"img", "a\nb", "c\nd"},
		"\n\n img a\r\n":                      {"img", "a"},
		"img a\rb \r":                         {"img", "a\rb", "\r"},
		`img -c 'echo one; echo two && exit'`: {"img", "-c", "echo one; echo two && exit"},
		`img # comment; | 'x`:                 {"img"},
		"# comment\nimg\n# another\n":         {"img"},
		`img a#b '#'`:                         {"img", "a#b", "#"},
		"img \ue000a\uf8ff \ue020 '\ue001'":   {"img", "\ue000a\uf8ff", "\ue020", "\ue001"},
		"img caf\u00e9\u00a0x \xff":           {"img", "caf\u00e9\u00a0x", "\xff"},
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

// TestSplitWordsRefuses holds refusals to what they say, and to where: the
// place of the fault is marked by ^ in the line.
func TestSplitWordsRefuses(t *testing.T) {
	for line, want := range map[string]string{
		`img a ^| cat`:                "| needs a shell",
		`img a ^| docker load`:        "| docker load: there is no docker engine",
		`img $P ^| docker login -u x`: "| docker login: leave it out: the credentials of the run are there",
		`img a ^&& img b`:             "&& needs a shell",
		`img a ^|| echo failed`:       "|| needs a shell",
		`img a ^> file`:               "a redirection, >, needs a shell",
		`img a ^< file`:               "a redirection, <, needs a shell",
		`img a 2^>&1`:                 "redirection",
		"img ^<<EOF\nEOF":             "redirection",
		`img a ^&`:                    "detach: true",
		`img ^$(date)`:                "$(...) needs a shell",
		`img ^$((1+1))`:               "$(...) needs a shell",
		"img ^$\\\n(date)":            "$(...) needs a shell",
		"img ^`date`":                 "`...` needs a shell",
		`img "x ^$(date)"`:            "$(...) needs a shell",
		"img \"x ^`date`\"":           "`...` needs a shell",
		`img ^${X:-y}`:                "only ${NAME} is kept",
		`img "^${X%y}"`:               "only ${NAME} is kept",
		`img ^${X`:                    "only ${NAME} is kept",
		`img ^${}`:                    "only ${NAME} is kept",
		`img ^${1a}`:                  "only ${NAME} is kept",
		"img a\n^img b":               "more than one command",
		`img a^; img b`:               "more than one command",
		`img ^'a`:                     "a single quote is not closed",
		`img ^"a`:                     "a double quote is not closed",
		`img ^"a\`:                    "a double quote is not closed",
		`^if true`:                    "if needs a shell",
		`^! img`:                      "! needs a shell",
		`^{ img`:                      "{ needs a shell",
		`^while true`:                 "while needs a shell",
		`^(img a)`:                    "( needs a shell",
		`img a ^)`:                    ") needs a shell",
		`f^() img`:                    "( needs a shell",
		"img a^\x00b":                 "NUL",
	} {
		text := strings.Replace(line, "^", "", 1)
		got, err := splitWords(text)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("splitWords(%q) = %q, %v; want an error with %q", text, got, err, want)
			continue
		}
		if at, ok := errors.AsType[*lineError](err); !ok || at.Offset != strings.Index(line, "^") {
			t.Errorf("splitWords(%q): %v at %+v, want at %d", text, err, at, strings.Index(line, "^"))
		}
	}
}

// hostileLines are long, and of every shape that could be slow to read.
func hostileLines() map[string]string {
	const size = 500 << 10
	lines := map[string]string{}
	for _, piece := range []string{
		"a", " ", "\\\n", "\\", "'", `"`, `''`, `""`, `"\`, "$", "${", "${A}", "$(", "`", "#", "# \n", "\n", "|", "(", "&", ";", "<", ">", "{", "}", "!",
		"\\a", `"$A"`, `'a' `, "a ", "a\\\n", "$\\\n", "\r", "\r\n", "\ue000", "\xff", "if ", "-", "-i", "- ", "-i ", "--x ", "--x=y ", "-e A ", "-e A=1 ",
		"-t a ", "--platform linux/amd64 ", "--platform linux/amd64,", "linux/amd64,", "--secret id=a,", "--ulimit nofile=1:", "--label =", "-q", "=", ",", "a,", "-tq",
	} {
		many := strings.Repeat(piece, size/len(piece))
		lines[piece] = many
		lines["img \""+piece] = `img "` + many
	}
	for _, flag := range []string{"--platform ", "--secret id=", "--cache-to ", "--add-host ", "--annotation ", "--ulimit ", "-t ", "-v ", "-p ", "-q", "--"} {
		for _, piece := range []string{"a", ",", "a,", ":", "=", "index,", "[", "/", `\"`} {
			lines[flag+piece] = flag + strings.Repeat(piece, size/len(piece)) + " img"
		}
	}
	return lines
}

// generous is far more than a line of 500 KB may take, on a busy machine.
const generous = time.Second

func TestHostileLines(t *testing.T) {
	for name, line := range hostileLines() {
		for what, read := range map[string]func() error{
			"words": func() error { _, err := splitWords(line); return err },
			"build": func() error { _, err := parseBuild(line, nil); return err },
			"cmd":   func() error { _, err := parseCmd(line, nil); return err },
		} {
			took, err := fastest(read)
			if took > generous {
				t.Errorf("%s of %q...: took %v", what, name, took)
			}
			if err != nil && len(err.Error()) > 20<<10 {
				t.Errorf("%s of %q...: says %d bytes", what, name, len(err.Error()))
			}
		}
	}
}

// fastest tries again what was slow: it may be the machine that was.
func fastest(read func() error) (took time.Duration, err error) {
	for range 3 {
		start := time.Now()
		err = read()
		if took = time.Since(start); took <= generous {
			break
		}
	}
	return took, err
}

// FuzzWords holds the splitter to mvdan.cc/sh, a shell's parser: both have the
// same words where both have some, and what that takes for anything but one
// simple command is refused.
func FuzzWords(f *testing.F) {
	for _, line := range []string{
		`img "a $X" 'b' c\ d --e=f`, `img a | b`, "a\\\nb", "a\nb", `a "$(b)"`, "a `b`", `a ${X:-y}`, `! a`, `{ a; }`, `(a)`, `if a; then b; fi`,
		`a # b`, `A=1 B=2 c`, `a 2>&1`, `a <<E`, `f() { a; }`, "a\r\n", "a \"b\\\nc\"", `a $'x' $"y"`, `a ${1} $1 $$ $# ${#}`, "A=1\n# c", `a "${X}"`, `\if`, `a &`,
	} {
		f.Add(line)
	}
	f.Fuzz(func(t *testing.T, line string) {
		words, err := splitWords(line)
		if err != nil {
			if at, ok := errors.AsType[*lineError](err); !ok || at.Offset < 0 || at.Offset > len(line) {
				t.Errorf("splitWords(%q): %v at %+v", line, err, at)
			}
			return
		}
		if strings.Contains(line, "\r") {
			return // a blank to mvdan.cc/sh, and to no shell
		}
		want, simple, ok := shellWords(line)
		switch {
		case !ok: // no shell's syntax
		case !simple:
			t.Errorf("splitWords(%q) = %q; to a shell it is more than a simple command", line, words)
		default:
			if diff := cmp.Diff(want, words); diff != "" {
				t.Errorf("splitWords(%q): shell (-), got (+):\n%s", line, diff)
			}
		}
	})
}
