package steps

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestBuildFlags has every flag of docker build --help and of docker buildx
// build --help that is honoured, or does nothing.
func TestBuildFlags(t *testing.T) {
	for flags, want := range map[string]BuildOptions{
		"":                                  {},
		"-t a --tag b --tag=c -td -t=e":     {Tags: []string{"a", "b", "c", "d", "e"}},
		"-t r.io:5000/a/b:1 -t $Registry/A": {Tags: []string{"r.io:5000/a/b:1", "$Registry/A"}},
		"-f D2":                             {File: "D2"},
		"--file='My Projects/Dockerfile'":   {File: "My Projects/Dockerfile"},
		"--target s":                        {Target: "s"},
		"--build-arg A=1 --build-arg=B=c=d --build-arg C":          {BuildArgs: []string{"A=1", "B=c=d", "C"}},
		`--build-arg "A=b c" --build-arg D=`:                       {BuildArgs: []string{"A=b c", "D="}},
		"--build-arg A=\ue000x\ue001":                              {BuildArgs: []string{"A=\ue000x\ue001"}},
		"--label a=b --label=c":                                    {Labels: []string{"a=b", "c"}},
		"--annotation a.b=c":                                       {Annotations: []string{"a.b=c"}},
		"--annotation index,manifest:a=b":                          {Annotations: []string{"index:a=b", "manifest:a=b"}},
		"--annotation manifest[linux/amd64]:a=b":                   {Annotations: []string{"manifest[linux/amd64]:a=b"}},
		"--annotation com.x:y=z":                                   {Annotations: []string{"com.x:y=z"}},
		"--platform linux/amd64,linux/arm64":                       {Platforms: []string{"linux/amd64", "linux/arm64"}},
		"--platform=linux/arm/v7 --platform arm64":                 {Platforms: []string{"linux/arm/v7", "arm64"}},
		"--platform $P":                                            {Platforms: []string{"$P"}},
		"--no-cache":                                               {NoCache: true},
		"--no-cache=false":                                         {},
		"--no-cache-filter a,b":                                    {NoCacheFilter: []string{"a", "b"}},
		"--pull":                                                   {Pull: true},
		"--pull=true --no-cache":                                   {Pull: true, NoCache: true},
		"--secret id=a":                                            {Secrets: []BuildSecret{{ID: "a"}}},
		"--secret id=a,src=b":                                      {Secrets: []BuildSecret{{ID: "a", File: "b"}}},
		"--secret type=file,source=x/tok":                          {Secrets: []BuildSecret{{ID: "tok", File: "x/tok"}}},
		"--secret id=a,env=B":                                      {Secrets: []BuildSecret{{ID: "a", Env: "B"}}},
		"--secret type=env,id=a,src=B":                             {Secrets: []BuildSecret{{ID: "a", Env: "B"}}},
		`--secret '"id=a","src=b,c"'`:                              {Secrets: []BuildSecret{{ID: "a", File: "b,c"}}},
		"--ssh default":                                            {SSH: []BuildSSH{{ID: "default"}}},
		"--ssh a=k1,k2":                                            {SSH: []BuildSSH{{ID: "a", Paths: []string{"k1", "k2"}}}},
		"--cache-from r.io/a:1":                                    {CacheFrom: []string{"type=registry,ref=r.io/a:1"}},
		"--cache-from=type=registry,ref=r.io/a":                    {CacheFrom: []string{"type=registry,ref=r.io/a"}},
		"--cache-to type=registry,ref=r.io/a,mode=max":             {CacheTo: []string{"type=registry,ref=r.io/a,mode=max"}},
		"--cache-to type=inline":                                   {CacheTo: []string{"type=inline"}},
		"--build-context a=docker-image://alpine:3":                {Contexts: []string{"a=docker-image://alpine:3"}},
		"--build-context a=../b --build-context c=https://h/x.git": {Contexts: []string{"a=../b", "c=https://h/x.git"}},
		"--network host":                                           {Network: "host"},
		"--network=none":                                           {Network: "none"},
		"--network default":                                        {},
		"--net bridge":                                             {},
		"--add-host a:10.0.0.1 --add-host=b=10.0.0.2":              {AddHosts: []string{"a:10.0.0.1", "b:10.0.0.2"}},
		"--shm-size 1g":                                            {ShmSize: 1 << 30},
		"--ulimit nofile=1024:2048":                                {Ulimits: []Ulimit{{"nofile", 1024, 2048}}},
		"--attest type=sbom":                                       {Attests: []string{"type=sbom"}},
		"--attest mode=max,type=provenance":                        {Attests: []string{"type=provenance,mode=max"}},
		"--sbom":                                                   {Attests: []string{"type=sbom"}},
		"--sbom=true --provenance=mode=max":                        {Attests: []string{"type=sbom", "type=provenance,mode=max"}},
		"--sbom true --provenance mode=min":                        {Attests: []string{"type=sbom", "type=provenance,mode=min"}},
		"--sbom=generator=r.io/scan:1":                             {Attests: []string{"type=sbom,generator=r.io/scan:1"}},
		"--provenance --provenance=false":                          {Attests: []string{}},
		"--provenance false --sbom=0":                              {},
		"--attest type=sbom,disabled=true":                         {},
		"--allow network.host,security.insecure":                   {Allow: []string{"network.host", "security.insecure"}},
		"-o out":                                                   {Outputs: []BuildOutput{{"local", "out"}}},
		"--output type=tar,dest=a.tar":                             {Outputs: []BuildOutput{{"tar", "a.tar"}}},
		"--output=type=oci,dest=a.tar -o type=docker,dest=b":       {Outputs: []BuildOutput{{"oci", "a.tar"}, {"docker", "b"}}},
		"-o type=docker":                                           {},
		"-m 1g":                                                    {Limits: BuildLimits{Memory: 1 << 30}},
		"--memory=1g --memory-swap -1":                             {Limits: BuildLimits{Memory: 1 << 30, MemorySwap: -1}},
		"-c 512 --cpu-period 100000":                               {Limits: BuildLimits{CPUShares: 512, CPUPeriod: 100000}},
		"--cpu-shares 2 --cpu-quota 5":                             {Limits: BuildLimits{CPUShares: 2, CPUQuota: 5}},
		"--cpuset-cpus 0-3 --cpuset-mems 0":                        {Limits: BuildLimits{CPUSetCPUs: "0-3", CPUSetMems: "0"}},
		"--rm --force-rm=false -q --quiet":                         {},
		"--load":                                                   {Load: true},
		"--compress --debug -D --disable-content-trust":            {},
		"--progress plain --isolation default --call build -qD":    {},
		"--push=false --squash=false --check=false --stream=0":     {},
		"-qtx":     {Tags: []string{"x"}},
		"-Dqf D":   {File: "D"},
		"-t a -qD": {Tags: []string{"a"}},
	} {
		for _, line := range []string{flags + " sub/dir", "sub/dir " + flags, flags + " -- sub/dir"} {
			b, err := parseBuild(line, nil)
			if err != nil {
				t.Errorf("%s: %v", line, err)
				continue
			}
			if diff := cmp.Diff(want, b.Options); diff != "" {
				t.Errorf("%s: want (-), got (+):\n%s", line, diff)
			}
			if b.Context.Path != "sub/dir" {
				t.Errorf("%s: context %q", line, b.Context.Path)
			}
		}
	}
}

func TestBuildFlagsRefused(t *testing.T) {
	for flags, want := range map[string]string{
		"--push":                              "--push is not supported: push with a push step",
		"--squash":                            "--squash is not supported: BuildKit has no squash",
		"--check":                             "--check is not supported",
		"--call check":                        "--call check is not supported",
		"--stream":                            "--stream is not supported",
		"--security-opt x":                    "--security-opt is not supported: BuildKit has no security options",
		"--cgroup-parent x":                   "--cgroup-parent is not supported: builds run in the engine's own control group",
		"--builder x":                         "--builder is not supported: builds run in the daemon's engine",
		"--policy x":                          "--policy is not supported",
		"--invoke x":                          "--invoke is not supported",
		"--print x":                           "--print is not supported",
		"--iidfile x":                         "--iidfile is not supported: the digest is in the run's record",
		"--metadata-file x":                   "--metadata-file is not supported",
		"--isolation hyperv":                  "--isolation hyperv is not supported: it needs Windows",
		"--progress fast":                     "--progress fast is not supported",
		"--platform windows/amd64":            `--platform "windows/amd64" needs Windows`,
		"--platform linux/amd64,,":            `--platform "" is not a platform`,
		"--platform linux/a/b/c":              `--platform "linux/a/b/c" is not a platform`,
		"--platform darwin/arm64":             `--platform "darwin/arm64" is not a platform of Linux`,
		"--platform amd46":                    `--platform "amd46" is not a platform of Linux`,
		"--platform local":                    "--platform local is this host's platform: leave it out",
		"-t App":                              "-t invalid reference format: repository name (App) must be lowercase",
		"-t a:b:c":                            "-t invalid reference format",
		"-t a@sha256:abc":                     `-t "a@sha256:abc" has a digest`,
		"-t ''":                               "-t is empty",
		"--build-arg =x":                      "--build-arg has no name before the =",
		"--build-arg 'A B=x'":                 `--build-arg "A B" is not a name`,
		"--label =x":                          "--label has no name before the =",
		"--annotation a":                      `--annotation "a": want KEY=VALUE`,
		"--annotation =b":                     "--annotation has no name before the =",
		"--target ''":                         `--target "" is not a name`,
		"--no-cache=perhaps":                  `--no-cache "perhaps" is neither true nor false`,
		"--no-cache-filter a,":                `--no-cache-filter "a,": want STAGE[,STAGE]`,
		"--secret src":                        `--secret needs an id`,
		"--secret id=a,foo=b":                 `--secret has no field "foo"`,
		"--secret id=a,src=b,env=C":           "--secret has both a file and a variable",
		"--secret type=vault,id=a":            "--secret type=vault: want file or env",
		`--secret '"id=a'`:                    "--secret \"\\\"id=a\": want KEY=VALUE,KEY=VALUE",
		"--ssh a=":                            `--ssh "a=": want ID or ID=KEY[,KEY]`,
		"--cache-from type=local,src=x":       `--cache-from has no field "src"`,
		"--cache-from type=gha":               "--cache-from type=gha is not supported: the engine keeps a cache of its own",
		"--cache-from type=inline":            "--cache-from type=inline is not supported",
		"--cache-to type=local,mode=max":      "--cache-to type=local is not supported",
		"--cache-to type=registry":            "--cache-to type=registry needs ref=IMAGE",
		"--cache-to type=registry,ref=A":      "--cache-to invalid reference format: repository name (A)",
		"--cache-to ref=a,mode=most":          "--cache-to mode=most: want min or max",
		"--cache-to ref=a,foo=b":              `--cache-to has no field "foo"`,
		"--build-context a":                   `--build-context "a": want NAME=VALUE`,
		"--build-context a=oci-layout://x":    "--build-context oci-layout://x is not supported",
		"--build-context a=target:x":          "--build-context target:x is not supported",
		"--build-context a=docker-image://A":  "repository name (A) must be lowercase",
		"--build-context a=git@h:p":           "--build-context git@h:p is not supported: write https://",
		"--network n1":                        "--network n1 is not supported: a build is on a network of its own",
		"--add-host a":                        `--add-host "a": want NAME:ADDRESS`,
		"--add-host a,b:1.1.1.1":              `"a,b" is not the name of a host`,
		"--shm-size big":                      `--shm-size "big" is not a size`,
		"--ulimit nofile=x":                   `--ulimit "nofile=x" is not a limit`,
		"--memory x":                          `--memory "x" is not a size`,
		"--memory-swap x":                     `--memory-swap "x" is not a size`,
		"--cpu-shares 0":                      `--cpu-shares "0" is not a number from 1 on`,
		"--attest sbom":                       "--attest type=: want type=sbom or type=provenance",
		"--attest type=foo":                   "--attest type=foo: want type=sbom or type=provenance",
		"--attest type=provenance,mode=big":   "--attest mode=big: want min or max",
		"--attest type=provenance,foo=1":      `--attest has no field "foo=1"`,
		"--attest type=sbom,disabled=perhaps": "--attest disabled=perhaps: want true or false",
		"--allow all":                         "--allow all is not supported: a build can be allowed security.insecure, network.host or device",
		"-o type=registry,ref=x":              "-o type=registry is not supported: push with a push step",
		"-o type=image,push=true":             "-o type=image is not supported: name the image with -t",
		"-o -":                                "-o -: want a path in the workspace",
		"-o type=tar":                         "-o type=tar: want a path in the workspace",
		"-o type=zip,dest=x":                  "-o type=zip: want local, tar, oci or docker",
		"-o type=oci,dest=x,foo=y":            "-o foo=y is not supported",
		"-f -":                                "-f - is standard input",
		"-f https://h/Dockerfile":             "-f https://h/Dockerfile is not supported",
		"--frob":                              "unknown flag: --frob",
		"--frob x":                            "unknown flag: --frob",
		"-build-arg A=1":                      "unknown flag: -build-arg: write --build-arg",
		"a b":                                 "one build context is needed, not 3: a b .",
		"docker build":                        "begins with docker build: leave that out",
	} {
		b, err := parseBuild(flags+" .", nil)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %+v, %v; want %q", flags, b, err, want)
		}
	}
}

// TestBuildContexts holds the context to where it stands: behind a switch, in
// front of flags, between them.
func TestBuildContexts(t *testing.T) {
	for line, want := range map[string]string{
		"":                    ".",
		"-t a":                ".",
		"-t a --no-cache dir": "dir",
		"dir -t a --pull":     "dir",
		"--sbom dir":          "dir",
		"--provenance . -t a": ".",
		"-t a 'my dir'":       "my dir",
		"-t a /dev/null":      "/dev/null",
		"-t a -- -dir":        "",
		"--no-cache https://PAT@github.com/o/r.git#main:sub": "https://xxxxx@github.com/o/r.git#main:sub",
		"--pull git@h:o/r.git#v1":                            "git@h:o/r.git#v1",
		"https://h/ctx.tar.gz -t a":                          "https://h/ctx.tar.gz",
		"oci://r.io/a:1":                                     "oci://r.io/a:1",
		"-":                                                  "",
		"''":                                                 "",
	} {
		b, err := parseBuild(line, nil)
		switch {
		case err != nil && want != "", err == nil && want == "":
			t.Errorf("%s: %+v, %v; want %q", line, b, err, want)
		case err == nil && b.Context.String() != want:
			t.Errorf("%s: context %q, want %q", line, b.Context, want)
		}
	}
}

// TestBuildFaults holds a line to all its faults at once, each at its place.
func TestBuildFaults(t *testing.T) {
	line := "-t App --platform=windows --frob x --ulimit a=1 . b --push"
	_, err := parseBuild(line, nil)
	var got []string
	for _, f := range lineFaults(err) {
		word, _, _ := strings.Cut(line[f.Offset:], " ")
		got = append(got, word+" | "+f.Msg)
	}
	want := []string{
		"-t | -t invalid reference format: repository name (App) must be lowercase",
		`--platform=windows | --platform "windows" needs Windows: acrd builds and runs for Linux`,
		"--frob | unknown flag: --frob",
		`--ulimit | --ulimit "a" is not a limit that Linux has: there are ` + strings.Join(limitNames, ", "),
		"--push | --push is not supported: push with a push step",
		"b | one build context is needed, not 2: . b",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("want (-), got (+):\n%s", diff)
	}
	_, err = Parse("t.yaml", []byte("steps:\n  - build: "+line+"\n"), Options{})
	if n := strings.Count(err.Error(), "t.yaml:2:"); n != len(want) {
		t.Errorf("the file has %d faults, want %d:\n%v", n, len(want), err)
	}
	if _, err := parseBuild(strings.Repeat("--frob ", 1000), nil); len(lineFaults(err)) > maxLineErrors+1 {
		t.Errorf("%d faults are reported", len(lineFaults(err)))
	}
}

func TestBuildArgs(t *testing.T) {
	b, err := ParseBuildArgs([]string{"--build-arg", "A=b c | d", "-f", "x y", "$(z)"})
	if err != nil {
		t.Fatal(err)
	}
	if b.Options.BuildArgs[0] != "A=b c | d" || b.Options.File != "x y" || b.Context.Path != "$(z)" {
		t.Errorf("%+v", b)
	}
	if _, err = ParseBuildArgs([]string{"--frob", "--push", "."}); err == nil || err.Error() != "unknown flag: --frob; --push is not supported: push with a push step" {
		t.Errorf("%v", err)
	}
}

// TestOnHost holds absolute paths of a build line to the workspace.
func TestOnHost(t *testing.T) {
	b, err := parseBuild("--secret id=a,src=/workspace/x/tok --secret id=b,src=tok --ssh k=/workspace/key,k2 --build-context c=/workspace/d --build-context e=../f -o /workspace/out .", nil)
	if err != nil {
		t.Fatal(err)
	}
	got := b.Options.onHost("/host/w")
	want := BuildOptions{
		Secrets: []BuildSecret{{ID: "a", File: "/host/w/x/tok"}, {ID: "b", File: "tok"}}, SSH: []BuildSSH{{"k", []string{"/host/w/key", "k2"}}},
		Contexts: []string{"c=/host/w/d", "e=../f"}, Outputs: []BuildOutput{{"local", "/host/w/out"}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("want (-), got (+):\n%s", diff)
	}
	if b.Options.Secrets[0].File != "/workspace/x/tok" || b.Options.Contexts[0] != "c=/workspace/d" {
		t.Errorf("the definition was changed: %+v", b.Options)
	}
}

func FuzzBuildLine(f *testing.F) {
	for _, line := range []string{
		`-t a -f "D x" --build-arg "A=b c" .`, "--platform linux/amd64,arm64 --secret id=a,src=b --ssh default=k .", "--cache-to type=registry,ref=a,mode=max --sbom .",
		"--annotation index,manifest[linux/amd64]:a=b --ulimit nofile=1:2 .", "-qDt a --add-host a:[::1] --provenance mode=max -o out .", "-- -x", "https://h/x.git#a:b",
		`--secret '"id=a","src=b,c"' .`, "--build-context a=docker-image://b --memory 1.5g --frob x . y",
	} {
		f.Add(line)
	}
	f.Fuzz(func(t *testing.T, line string) {
		b, err := parseBuild(line, nil)
		checkLineFaults(t, line, err)
		if (b == nil) == (err == nil) {
			t.Fatalf("%q: %+v and %v", line, b, err)
		}
		if err != nil {
			return
		}
		for _, tag := range b.Options.Tags {
			if checkReference(tag) != nil && !unsettled(tag) {
				t.Errorf("%q: tag %q", line, tag)
			}
		}
		for _, spec := range append(append([]string{}, b.Options.CacheFrom...), b.Options.CacheTo...) {
			if !strings.HasPrefix(spec, "type=") && !strings.Contains(spec, "ref=") {
				t.Errorf("%q: cache %q", line, spec)
			}
		}
		for _, o := range b.Options.Outputs {
			if o.Dest == "" || o.Type == "" {
				t.Errorf("%q: output %+v", line, o)
			}
		}
	})
}
