package main

import (
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/pflag"
)

// TestDocumentedCommands holds every command that a page shows in a block of
// its own to the commands, flags and names that there are.
func TestDocumentedCommands(t *testing.T) {
	shown := 0
	for page, text := range pages(t) {
		for _, words := range shownCommands(text) {
			shown++
			if fault := commandFault(t, words); fault != "" {
				t.Errorf("%s: acrd %q: %s", page, words, fault)
			}
		}
	}
	if shown < 70 {
		t.Errorf("%d commands found: the test has lost them", shown)
	}
}

// TestLinks follows every link of a page to a file or a heading.
func TestLinks(t *testing.T) {
	all := pages(t)
	link := regexp.MustCompile(`\]\(([^)\s]+)\)`)
	for page, text := range all {
		for _, m := range link.FindAllStringSubmatch(text, -1) {
			if strings.Contains(m[1], "://") {
				continue
			}
			file, anchor, _ := strings.Cut(m[1], "#")
			target := page
			if file != "" {
				target = filepath.Join(filepath.Dir(page), file)
			}
			if _, err := os.Stat(target); err != nil {
				t.Errorf("%s: %s is not there", page, m[1])
			}
			if anchor != "" && !slices.Contains(headings(all[target]), anchor) {
				t.Errorf("%s: %s has no such heading", page, m[1])
			}
		}
	}
}

// pages are the texts of everything that is there to be read, by file.
func pages(t *testing.T) map[string]string {
	t.Helper()
	all := map[string]string{}
	for _, pattern := range []string{"*.md", "docs/*.md", "docs/decisions/*.md", "examples/*.md", "examples/*/*.md"} {
		found, err := filepath.Glob("../../" + pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, page := range found {
			b, err := os.ReadFile(page)
			if err != nil {
				t.Fatal(err)
			}
			all[page] = string(b)
		}
	}
	return all
}

// headings are those of a page, as links name them.
func headings(text string) (all []string) {
	for _, m := range regexp.MustCompile(`(?m)^#+ (.*)$`).FindAllStringSubmatch(text, -1) {
		plain := regexp.MustCompile(`[^a-z0-9 _-]`).ReplaceAllString(strings.ToLower(m[1]), "")
		all = append(all, strings.ReplaceAll(plain, " ", "-"))
	}
	return all
}

// What stands before a command: a prompt, sudo, and variables.
var beforeCommand = regexp.MustCompile(`^ *(?:[a-z]*\$ )?(?:sudo )?(?:[A-Z_]+=\S* )*(?:\S*bin/)?acrd `)

// shownCommands are the words of the commands in a page's blocks, without the
// first.
func shownCommands(page string) (all [][]string) {
	fenced := false
	lines := strings.Split(page, "\n")
	for i := 0; i < len(lines); i++ {
		if strings.HasPrefix(lines[i], "```") {
			fenced = !fenced
		}
		if !fenced && !strings.HasPrefix(lines[i], "    ") {
			continue
		}
		prompt := beforeCommand.FindString(lines[i])
		if prompt == "" || strings.Contains(lines[i], " serves on ") {
			continue
		}
		command := lines[i][len(prompt):]
		for strings.HasSuffix(command, `\`) && i+1 < len(lines) {
			i++
			command = strings.TrimSuffix(command, `\`) + lines[i]
		}
		all = append(all, commandWords(command))
	}
	return all
}

// commandWords splits a command as a shell does, up to what is not the
// command's own: a pipe, a redirection, a comment.
func commandWords(command string) (words []string) {
	word := regexp.MustCompile(`(?:[^\s'"]+|'[^']*'|"[^"]*")+`)
	for _, w := range word.FindAllString(command, -1) {
		if strings.HasPrefix(w, "#") || regexp.MustCompile(`^(?:[0-9]?[<>|&;]|\|\|)`).MatchString(w) {
			break
		}
		end := strings.HasSuffix(w, ";")
		words = append(words, strings.NewReplacer(`'`, "", `"`, "").Replace(strings.TrimSuffix(w, ";")))
		if end {
			break
		}
	}
	return words
}

// takenNames are the names that commands take with --name.
var takenNames = map[string]*regexp.Regexp{
	"task create":               regexp.MustCompile(`^[A-Za-z0-9_-]{5,50}$`),
	"webhook create":            regexp.MustCompile(`^[A-Za-z0-9]{5,50}$`),
	"event-subscription create": regexp.MustCompile(`^[A-Za-z0-9-]{3,64}$`),
}

// commandFault is what is wrong with a command, if anything is.
func commandFault(t *testing.T, words []string) string {
	t.Helper()
	all := allCommands("", commands())
	name, args := "", words
	for len(args) > 0 {
		name, args = strings.TrimSpace(name+" "+args[0]), args[1:]
		if _, ok := all[name]; ok {
			break
		}
	}
	c, ok := all[name]
	if !ok {
		return "there is no such command"
	}
	var flags *pflag.FlagSet
	s := &session{stdin: strings.NewReader(""), stdout: io.Discard, stderr: io.Discard, getenv: func(string) string { return "" }}
	s.defined = func(fs *pflag.FlagSet) { flags = fs }
	_ = c.run(t.Context(), s, []string{"--help"}) // defines the flags, and says so by an error
	if flags == nil {
		return "it has no flags"
	}
	flags.Usage = func() {}
	if err := flags.Parse(joinWords(flags, args)); err != nil {
		return err.Error()
	}
	if want := takenNames[name]; want != nil && !want.MatchString(flags.Lookup("name").Value.String()) {
		return "the name is not one that is taken: " + want.String()
	}
	return ""
}
