package main

import (
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"acrd/eventing"
	"acrd/eventing/inbound"
	"acrd/internal/acr"
	"acrd/internal/api"
	"acrd/internal/secrets"

	"github.com/spf13/pflag"
)

// completeCommand prints what may come next, a word a line. Shells call it.
const completeCommand = "__complete"

const completionCommand = "completion"

// completionScripts ask the command itself. Where it has nothing to say, the
// shell completes file names.
var completionScripts = map[string]string{
	"bash": `_acrd() {
	local IFS=$'\n'
	COMPREPLY=($(compgen -W "$(acrd __complete "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null)" -- "${COMP_WORDS[COMP_CWORD]}"))
}
complete -o default -F _acrd acrd
`,
	"zsh": `#compdef acrd
_acrd() {
	local -a found
	found=("${(@f)$(acrd __complete "${(@)words[2,CURRENT]}" 2>/dev/null)}")
	if [[ -n "${found[1]}" ]]; then
		compadd -a found
	else
		_files
	fi
}
compdef _acrd acrd
`,
	"fish": `function __acrd_complete
	set -l token (commandline -ct)
	set -l found (acrd __complete (commandline -opc)[2..-1] "$token" 2>/dev/null)
	if test (count $found) -gt 0
		printf '%s\n' $found
	else
		__fish_complete_path "$token"
	end
end
complete -c acrd -f -a '(__acrd_complete)'
`,
}

func printCompletion(_ context.Context, s *session, args []string) error {
	fs := newFlags(s, "completion bash|zsh|fish", `Print the completion script of a shell:

  bash: acrd completion bash > /etc/bash_completion.d/acrd
  zsh:  acrd completion zsh > "${fpath[1]}/_acrd"
  fish: acrd completion fish > ~/.config/fish/completions/acrd.fish`)
	rest, err := parse(fs, args, 1, 1)
	if err != nil {
		return err
	}
	script, ok := completionScripts[rest[0]]
	if !ok {
		return &usageError{fmt.Sprintf("%q is none of bash, zsh, fish", rest[0])}
	}
	_, err = io.WriteString(s.stdout, script)
	return err
}

// complete prints the words that may stand where the last of args does.
func complete(ctx context.Context, s *session, args []string) error {
	if len(args) == 0 {
		args = []string{""}
	}
	word, before := args[len(args)-1], args[:len(args)-1]
	group := command{name: "acrd", subs: commands()}
	kind := "" // the first command, which says what names are of
	if len(before) > 0 {
		kind = before[0]
	}
	for group.subs != nil && len(before) > 0 {
		i := slices.IndexFunc(group.subs, func(c command) bool { return c.name == before[0] })
		if i < 0 {
			return nil
		}
		group, before = group.subs[i], before[1:]
	}
	var found []string
	switch {
	case group.subs != nil:
		for _, c := range group.subs {
			if !c.hidden {
				found = append(found, c.name)
			}
		}
	case strings.HasPrefix(word, "-"):
		found = flagsOf(ctx, group)
	case len(before) > 0 && strings.HasPrefix(before[len(before)-1], "-"):
		found = valuesOf(ctx, s, kind, before[len(before)-1])
	case kind == completionCommand:
		found = slices.Sorted(maps.Keys(completionScripts))
	case len(before) == 0:
		found = askNames(ctx, s, argumentOf(kind, group.name))
	}
	for _, f := range found {
		if strings.HasPrefix(f, word) {
			fmt.Fprintln(s.stdout, f)
		}
	}
	return nil
}

// flagsOf asks a command for its help and takes the flags from it.
func flagsOf(ctx context.Context, c command) []string {
	var found []string
	asking := &session{stdin: strings.NewReader(""), stdout: io.Discard, stderr: io.Discard, getenv: func(string) string { return "" }}
	asking.defined = func(fs *pflag.FlagSet) {
		fs.VisitAll(func(f *pflag.Flag) {
			if !f.Hidden {
				found = append(found, "--"+f.Name)
			}
		})
	}
	_ = c.run(ctx, asking, []string{"--help"}) // it is the help that is wanted
	return found
}

// completionPatience bounds how long a shell waits for a daemon.
const completionPatience = time.Second

// valuesOf are the values of a flag, as far as there are only some. Kind is the
// command that the flag is of.
func valuesOf(ctx context.Context, s *session, kind, flag string) []string {
	switch {
	case kind == "token" && flag == "--scope":
		return []string{"owner", "submit", "read", "registry-push", "registry-pull", "event-publish"}
	case flag == "--orderby":
		return []string{"time_asc", "time_desc"}
	case slices.Contains([]string{"webhook", "config"}, kind) && flag == "--status":
		return []string{"enabled", "disabled"}
	case kind == "webhook" && flag == "--actions":
		return eventing.Actions
	case kind == "event-subscription" && flag == "--endpoint-type":
		return []string{"webhook", "azurefunction", "storagequeue", "servicebusqueue", "servicebustopic", "eventhub", "amqp", "nats", "kafka", "task"}
	case kind == "event-subscription" && flag == "--event-delivery-schema":
		return []string{"eventgridschema", "cloudeventschemav1_0"}
	case kind == "event-subscription" && flag == "--included-event-types":
		return eventing.Types()
	case kind == "event-source" && flag == "--kind":
		return strings.Split(kindNames(), ", ")
	case kind == "event" && flag == "--schema":
		return []string{string(eventing.EventGridSchema), string(eventing.CloudEvents10)}
	}
	switch flag {
	case "-o", "--output":
		return outputs
	case "--status":
		return []string{"Enabled", "Disabled"}
	case "--run-status":
		return []string{"Queued", "Started", "Running", "Succeeded", "Failed", "Canceled", "Error", "Timeout"}
	case "--progress":
		return []string{"auto", "plain", "tty", "quiet", "rawjson"}
	}
	return askNames(ctx, s, namedBy(kind, flag))
}

// namedBy is what a flag of a command names.
func namedBy(kind, flag string) string {
	switch flag {
	case "--run-id":
		return "runs"
	case "--repository":
		return "repository"
	case "-n", "--name":
		if kind == "repository" { // the registry
			return ""
		}
		return kind
	}
	return ""
}

// argumentOf is what the argument of a command names.
func argumentOf(kind, name string) string {
	switch kind + " " + name {
	case "runs rerun", "runs watch", "logs logs":
		return "runs"
	case "task why":
		return "task"
	case "token delete":
		return "token"
	case "secret set", "secret delete":
		return "secret"
	}
	return ""
}

// askNames asks the daemon for the names of what there is, if one runs. To
// know none is as good an answer.
func askNames(ctx context.Context, s *session, what string) []string {
	ctx, stop := context.WithTimeoutCause(ctx, completionPatience, context.DeadlineExceeded)
	defer stop()
	where := serverFlags(pflag.NewFlagSet("", pflag.ContinueOnError), s)
	c, err := where.client()
	if err != nil {
		return nil
	}
	switch what {
	case "task":
		all, _ := c.Tasks(ctx)
		return namesOf(all, func(t *api.Task) string { return t.Name })
	case "taskrun":
		all, _ := c.TaskRuns(ctx)
		return namesOf(all, func(t *api.TaskRun) string { return t.Name })
	case "runs":
		all, _ := c.Runs(ctx, 20)
		return namesOf(all, func(r *api.Run) string { return r.Properties.RunID })
	case "webhook":
		all, _ := c.Webhooks(ctx)
		return namesOf(all, func(w *api.Webhook) string { return w.Name })
	case "event-subscription":
		all, _ := c.EventSubscriptions(ctx, "")
		return namesOf(all, func(e *api.EventSubscription) string { return e.Name })
	case "event-source":
		all, _ := c.EventSources(ctx)
		return namesOf(all, func(src inbound.Source) string { return src.Name })
	case "token":
		all, _ := c.Tokens(ctx)
		return namesOf(all, func(t *api.Token) string { return t.Name })
	case "secret":
		all, _ := c.Secrets(ctx)
		return namesOf(all, func(i secrets.Info) string { return i.Name })
	case "repository", "manifest":
		names, _ := first((&acr.Client{HTTP: c.HTTP(), Base: c.Base()}).Catalog(ctx), 0)
		return names
	}
	return nil
}

func namesOf[T any](all []T, name func(T) string) []string {
	var names []string
	for _, one := range all {
		names = append(names, name(one))
	}
	return names
}
