package steps

import (
	"cmp"
	"errors"
	"fmt"
	"strings"
)

// dockerAlone is what to do about docker commands in general.
const dockerAlone = "is not supported: there is no docker engine around a step. Build with a build: step, push with a push: step; " +
	"the image of that name is docker:cli"

// dockerEquivalents are the commands of docker that mean something here, by
// the words they begin with.
var dockerEquivalents = map[string]func(line string, words []word) (Action, error){
	"build": dockerBuild, "image build": dockerBuild, "builder build": dockerBuild, "buildx build": dockerBuild, "buildx b": dockerBuild,
	"push": dockerPush, "image push": dockerPush,
	"run": parseRun, "container run": parseRun,
}

// dockerRefusals say what to write instead of a command of docker.
var dockerRefusals = map[string]string{
	"login": "leave it out: the credentials of the run are there for its builds, its pushes, and in every step's ~/.docker/config.json; " +
		"give another registry's with --credential",
	"logout":   "leave it out: credentials go with the run",
	"tag":      "give the image all its names where it is built: build: -t NAME -t OTHER",
	"pull":     "leave it out: an image is pulled when a step needs it, and pull: true asks its registry anew",
	"manifest": "build all platforms at once: build: -t NAME --platform linux/amd64,linux/arm64 makes an index",
	"logs":     "the log of every step is in the run's: acrd logs RUN --step ID",
	"exec":     "use a step of its own: steps reach each other by id, and share /workspace",
	"cp":       "write to /workspace, which all steps share",
	"compose":  "make each service a step with detach: true; steps reach it by its id",
	"save":     "use build: --output type=oci,dest=FILE",
	"load":     "build the image in this run, or pull it from a registry",
	"rm":       "leave it out: containers end with the run",
	"rmi":      "leave it out: what is not pushed goes with the run",
	"wait":     "a step waits for those in its when:",
	"create":   "a step starts as soon as those in its when: have ended",
	"commit":   "build the image from a Dockerfile",
	"images":   "there is no docker engine to ask: what the run has built is in its record",
	"network":  "list it under networks: at the top of the file",
	"volume":   "steps share /workspace, and volumes: at the top of the file has secrets",
	"buildx":   "use build: steps: the daemon's engine is the builder, and --platform builds for several",
	"search":   "there is no docker engine to ask",
}

// sameRefusal are commands that are refused like others.
var sameRefusal = map[string]string{
	"start": "create", "restart": "create", "unpause": "create", "attach": "logs",
	"stop": "rm", "kill": "rm", "pause": "rm", "prune": "rmi", "system": "rmi", "builder": "buildx", "stack": "compose", "service": "compose", "swarm": "compose",
	"export": "cp", "import": "load", "top": "images", "ps": "images", "inspect": "images", "history": "images", "stats": "images", "port": "images",
	"events": "images", "info": "images", "diff": "images", "docker-compose": "compose", "imagetools": "manifest", "bake": "buildx", "ls": "images",
	"rename": "create", "update": "create",
}

// parseDocker reads "docker COMMAND ...". What does not need docker's engine
// runs in the image "docker", as it would on ACR.
func parseDocker(line string, words []word) (Action, error) {
	rest, faults := dockerFlags().parse(words[1:], false)
	if len(faults) > 0 {
		return nil, faults
	}
	if len(rest) == 0 || rest[0].text == "version" || rest[0].text == "help" {
		return &Cmd{Line: line, Image: words[0].text, Args: wordTexts(allPlain(words[1:]))}, nil
	}
	name := rest[0].shown()
	if do := dockerEquivalents[name]; do != nil {
		return do(line, rest[1:])
	}
	if len(rest) > 1 && dockerGroups[name] {
		name += " " + rest[1].shown()
		if do := dockerEquivalents[name]; do != nil {
			return do(line, rest[2:])
		}
	}
	return nil, &lineError{words[0].at, dockerRefusal(name)}
}

// dockerGroups are the commands whose second word says what they do.
var dockerGroups = map[string]bool{"image": true, "container": true, "builder": true, "buildx": true}

func dockerRefusal(name string) string {
	last := name[strings.IndexByte(name, ' ')+1:]
	for _, n := range []string{name, last, strings.TrimSuffix(name, " "+last)} {
		if instead, ok := dockerRefusals[cmp.Or(sameRefusal[n], n)]; ok {
			return "docker " + brief(name) + " is not supported: " + instead
		}
	}
	return "docker " + brief(name) + " " + dockerAlone
}

// dockerFlags are those in front of docker's command.
func dockerFlags() flagSet {
	fs := flagSet{}
	fs.ignored("-l", "--log-level")
	fs.ignoredSwitch("-D", "--debug", "-v", "--version", "--help")
	fs.refused("there is no docker engine around a step", "-H", "--host", "-c", "--context", "--tlscacert", "--tlscert", "--tlskey")
	fs.refusedSwitch("there is no docker engine around a step", "--tls", "--tlsverify")
	fs.refused("credentials are the run's: give them with --credential", "--config")
	return fs
}

func dockerBuild(line string, words []word) (Action, error) {
	b, err := readBuild(words)
	if err != nil {
		return nil, err
	}
	b.Line = line
	return b, nil
}

func dockerPush(_ string, words []word) (Action, error) {
	fs := flagSet{}
	fs.ignoredSwitch("-q", "--quiet", "--disable-content-trust")
	fs.refusedSwitch("name each tag in a push: step", "-a", "--all-tags")
	fs.refused("all platforms that were built are pushed", "--platform")
	rest, faults := fs.parse(words, true)
	switch {
	case len(faults) > 0:
		return nil, faults
	case len(rest) != 1:
		return nil, fmt.Errorf("docker push takes one image, not %d: a push: step takes a list", len(rest))
	}
	if err := checkReferences(wordTexts(rest)); err != nil {
		if rest[0].brought {
			err = fmt.Errorf("docker push %w", errNotTaken)
		}
		return nil, &lineError{rest[0].at, err.Error()}
	}
	return NewPush(wordTexts(rest)), nil
}

// dockerSyntax words the refusal of a line that cannot be split, if it is one
// of docker login: nothing that it is fed with is needed.
func dockerSyntax(line string, err error) error {
	fields := strings.Fields(line[:min(len(line), 100)])
	if len(fields) < 2 || fields[0] != "docker" || fields[1] != "login" {
		return err
	}
	at := 0
	if one, ok := errors.AsType[*lineError](err); ok {
		at = one.Offset
	}
	return &lineError{at, dockerRefusal("login")}
}
