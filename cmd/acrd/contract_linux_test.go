package main

import (
	"os"
	"strings"
	"testing"
)

// azCommands are the commands of az acr that ACR Tasks have, and their flags,
// each with a value if it takes one. TestContract holds acrd to them; what a
// flag of tasks does is in TestTaskFlags. A command that is not here has to be
// in docs/compatibility.md, and so has a flag with a minus before it.
var azCommands = map[string]string{
	"build": `-t app:1|--image app:1|-f Dockerfile|--file Dockerfile|--no-push|--no-push true|--build-arg A=1|--build-arg A|--secret-build-arg A=1
		|--target x|--no-format|--no-logs|--no-wait|--timeout 900|--platform linux/arm64/v8|--auth-mode None|--agent-pool p|--log-template a:b
		|--source-acr-auth-id none|-r reg|--registry reg|-g group|--resource-group group|-o json|--output table`,
	"run": `-f acb.yaml|--file -|--cmd x|--values v.yaml|--set a=1|--set a|--set-secret a=1|--no-format|--no-logs|--no-wait|--timeout 900|--platform linux
		|--auth-mode None|--agent-pool p|--log-template a:b|--source-acr-auth-id [caller]|-r reg|-g group|-o json`,
	"pack build": "-",
	"task create": `-n name5|--name name5|-c /dev/null|--context /dev/null|-f a.yaml|--file -|--cmd x|-t a:1|--image a:1|--no-push|--no-push false|--no-cache
		|--arg A=1|--secret-arg A=1|--target x|--values v|--set a=1|--set-secret a=1|--status Disabled|--platform linux/amd64|--cpu 2|--timeout 900
		|--commit-trigger-enabled false|--commit-trigger-enabled=false|--pull-request-trigger-enabled true|--source-trigger-name s|--git-access-token t
		|--schedule 0_4_*_*_*|--base-image-trigger-enabled false|--base-image-trigger-type All|--base-image-trigger-name b
		|--update-trigger-endpoint http://h|--update-trigger-payload-type Token|--assign-identity|--assign-identity [system]|--auth-mode None
		|--agent-pool p|--log-template a:b|--is-system-task|--source-acr-auth-id [system]|-r reg|-g group|-o json`,
	"task update": `-n name5|-c /dev/null|-f a.yaml|--cmd x|-t a:1|--no-push|--no-cache|--arg A=1|--secret-arg A=1|--target x|--values v|--set a=1|--set-secret a=1
		|--status Disabled|--platform linux|--cpu 2|--timeout 900|--commit-trigger-enabled false|--pull-request-trigger-enabled true|--git-access-token t
		|--base-image-trigger-enabled false|--base-image-trigger-type All|--update-trigger-endpoint http://h|--update-trigger-payload-type Token
		|--auth-mode None|--agent-pool p|--log-template a:b|--source-acr-auth-id none|-r reg|-g group|-o json`,
	"task show":   `-n name5|--with-secure-properties|-r reg|-g group|-o json`,
	"task list":   `-r reg|-g group|-o json`,
	"task delete": `-n name5|-y|--yes|-r reg|-g group`,
	"task run": `-n name5|--arg A=1|--secret-arg A=1|--set a=1|--set-secret a=1|--target x|-f a.yaml|-c .|--update-trigger-token t|--no-format|--no-logs|--no-wait
		|--log-template a:b|--agent-pool p|-r reg|-g group|-o json`,
	"task list-runs":  `-n name5|--run-status Failed|--top 15|-t a:1|--image a@sha256:1|-r reg|-g group|-o table`,
	"task show-run":   `--run-id ca1|-r reg|-g group|-o json`,
	"task cancel-run": `--run-id ca1|-r reg|-g group`,
	"task update-run": `--run-id ca1|--no-archive|--no-archive false|-r reg|-g group`,
	"task logs":       `--run-id ca1|-n name5|-t a:1|--image a:1|--no-format|-r reg|-g group`,

	"task timer add":         `-n name5|--timer-name t|--schedule 0_4_*_*_*|--enabled true|-r reg|-g group`,
	"task timer update":      `-n name5|--timer-name t|--schedule 0_4_*_*_*|--enabled false|-r reg|-g group`,
	"task timer remove":      `-n name5|--timer-name t|-r reg|-g group`,
	"task timer list":        `-n name5|-r reg|-g group|-o json`,
	"task credential add":    `-n name5|--login-server h|-u u|--username u|-p p|--password p|--use-identity [system]|-r reg|-g group`,
	"task credential update": `-n name5|--login-server h|-u u|-p p|--use-identity id|-r reg|-g group`,
	"task credential remove": `-n name5|--login-server h|-r reg|-g group`,
	"task credential list":   `-n name5|-r reg|-g group`,
	"task identity assign":   `-n name5|--identities|--identities [system]|-r reg|-g group`,
	"task identity remove":   `-n name5|--identities [all]|-r reg|-g group`,
	"task identity show":     `-n name5|-r reg|-g group`,

	"taskrun list":   `-r reg|-g group|-o json`,
	"taskrun show":   `-n name5|-r reg|-g group|-o json`,
	"taskrun delete": `-n name5|-y|-r reg|-g group`,
	"taskrun logs":   `-n name5|--no-format|-r reg|-g group`,

	"agentpool": "-", "webhook": "-",
}

// TestContract has every command and flag of section 4 of the contract: each
// is here, or docs/compatibility.md says why it is not.
func TestContract(t *testing.T) {
	b, err := os.ReadFile("../../docs/compatibility.md")
	if err != nil {
		t.Fatal(err)
	}
	page := string(b)
	have := allCommands("", commands())
	for name, flags := range azCommands {
		if flags == "-" {
			if !strings.Contains(page, "`az acr "+name) {
				t.Errorf("docs/compatibility.md does not say why there is no az acr %s", name)
			}
			continue
		}
		if _, ok := have[name]; !ok {
			t.Errorf("there is no acrd %s", name)
			continue
		}
		for flag := range strings.SplitSeq(flags, "|") {
			words := strings.Fields(flag)
			for i := range words {
				words[i] = strings.ReplaceAll(words[i], "_", " ")
			}
			var out strings.Builder
			s := &session{stdin: strings.NewReader(""), stdout: &out, stderr: &out, getenv: func(string) string { return "" }}
			args := append(append(strings.Fields(name), words...), "--help")
			if code := run(t.Context(), s, args); code != exitOK {
				t.Errorf("acrd %s: exit code %d: %s", strings.Join(args, " "), code, out.String())
			}
		}
	}
}
