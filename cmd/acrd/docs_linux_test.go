package main

import (
	"bytes"
	"maps"
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
	for name, c := range allCommands("", commands()) {
		if c.hidden {
			continue
		}
		if !strings.Contains(page, "`acrd "+name) {
			t.Errorf("docs/cli.md does not have the command %s", name)
		}
		var out bytes.Buffer
		s := &session{stdin: strings.NewReader(""), stdout: &out, stderr: &out, getenv: func(string) string { return "" }}
		if code := run(t.Context(), s, append(strings.Fields(name), "--help")); code != exitOK {
			t.Errorf("%s --help: exit code %d", name, code)
		}
		for _, match := range help.FindAllStringSubmatch(out.String(), -1) {
			f := match[1]
			known[f] = true
			if !strings.Contains(page, "`"+f) && !strings.Contains(page, " "+f) {
				t.Errorf("docs/cli.md does not have the flag %s of %s", f, name)
			}
		}
	}
	for _, hidden := range []string{"--help", "--push", "--load", "--no-format", "--resource-group", "--agent-pool", "--log-template", "--source-acr-auth-id", "--subscription"} {
		known[hidden] = true
	}
	for _, f := range hiddenDockerFlags {
		known["--"+f.name] = true
	}
	for _, f := range flag.FindAllString(page, -1) {
		if !known[f] {
			t.Errorf("docs/cli.md has the flag %s, and no command has", f)
		}
	}
}

// allCommands are the commands that do something, by all of their words.
func allCommands(before string, list []command) map[string]command {
	all := map[string]command{}
	for _, c := range list {
		if c.subs == nil {
			all[before+c.name] = c
			continue
		}
		maps.Copy(all, allCommands(before+c.name+" ", c.subs))
	}
	return all
}
