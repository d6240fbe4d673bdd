package main

import (
	"bytes"
	"os"
	"regexp"
	"strings"
	"testing"
)

// TestDocs holds docs/cli.md to the flags that there are.
func TestDocs(t *testing.T) {
	b, err := os.ReadFile("../../docs/cli.md")
	if err != nil {
		t.Fatal(err)
	}
	page := string(b)
	flag := regexp.MustCompile(`--[a-z][a-z-]+`)
	help := regexp.MustCompile(`(?m)^ +(?:-\w, )?(--[a-z][a-z-]+)`)
	known := map[string]bool{}
	for _, c := range commands() {
		if c.hidden {
			continue
		}
		if !strings.Contains(page, "`acrd "+c.name) {
			t.Errorf("docs/cli.md does not have the command %s", c.name)
		}
		var out bytes.Buffer
		if code := run(t.Context(), &session{strings.NewReader(""), &out, &out, func(string) string { return "" }}, []string{c.name, "--help"}); code != exitOK {
			t.Errorf("%s --help: exit code %d", c.name, code)
		}
		for _, match := range help.FindAllStringSubmatch(out.String(), -1) {
			f := match[1]
			known[f] = true
			if !strings.Contains(page, "`"+f) && !strings.Contains(page, " "+f) {
				t.Errorf("docs/cli.md does not have the flag %s of %s", f, c.name)
			}
		}
	}
	for _, hidden := range []string{"--help", "--push", "--load", "--no-format", "--resource-group", "--agent-pool", "--log-template", "--source-acr-auth-id", "--scope", "--expires", "--exact"} {
		known[hidden] = true
	}
	for _, f := range flag.FindAllString(page, -1) {
		if !known[f] {
			t.Errorf("docs/cli.md has the flag %s, and no command has", f)
		}
	}
}
