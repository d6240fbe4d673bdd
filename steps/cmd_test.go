package steps

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestRunFlags has every flag of docker run --help (28.2): what it does, that
// it does nothing, or what is said against it.
func TestRunFlags(t *testing.T) {
	honoured := map[string]CmdFlags{
		"--add-host db:10.0.0.1":          {RunFlags: RunFlags{AddHosts: []string{"db:10.0.0.1"}}},
		"--add-host=db=::1":               {RunFlags: RunFlags{AddHosts: []string{"db:::1"}}},
		"--add-host db:[fd00::1]":         {RunFlags: RunFlags{AddHosts: []string{"db:fd00::1"}}},
		"--cap-add net_admin":             {RunFlags: RunFlags{AddCaps: []string{"CAP_NET_ADMIN"}}},
		"--cap-drop ALL":                  {RunFlags: RunFlags{DropCaps: []string{"ALL"}}},
		"--cpus 1.5":                      {RunFlags: RunFlags{CPUs: 1.5}},
		"-d":                              {Detach: true},
		"--detach=false":                  {},
		"--device /dev/fuse":              {RunFlags: RunFlags{Devices: []string{"/dev/fuse"}}},
		"--entrypoint sh":                 {EntryPoint: "sh"},
		`--entrypoint ""`:                 {NoEntryPoint: true},
		"-e A=1 --env B -eC=2 -e=D=3":     {Env: []string{"A=1", "B", "C=2", "D=3"}},
		"-h web":                          {RunFlags: RunFlags{Hostname: "web"}},
		"--hostname=web":                  {RunFlags: RunFlags{Hostname: "web"}},
		"-m 512m":                         {RunFlags: RunFlags{Memory: 512 << 20}},
		"--memory 1.5g":                   {RunFlags: RunFlags{Memory: 3 << 29}},
		"--mount type=bind,src=/a,dst=/b": {Volumes: []string{"/a:/b"}},
		`--mount "type=bind,source=/a b,target=/b,readonly"`: {Volumes: []string{"/a b:/b:ro"}},
		"--network host":                         {Network: "host"},
		"--net=n1":                               {Network: "n1"},
		"--pids-limit 100":                       {RunFlags: RunFlags{PIDs: 100}},
		"--platform linux/arm64":                 {RunFlags: RunFlags{Platform: "linux/arm64"}},
		"--privileged":                           {RunFlags: RunFlags{Privileged: true}},
		"-p 80 --publish 127.0.0.1:8080:80/tcp":  {Ports: []string{"80", "127.0.0.1:8080:80/tcp"}},
		"-p8080:80":                              {Ports: []string{"8080:80"}},
		"--pull always":                          {Pull: true},
		"--pull missing":                         {},
		"--read-only":                            {RunFlags: RunFlags{ReadOnly: true}},
		"--shm-size 64kb":                        {RunFlags: RunFlags{ShmSize: 64 << 10}},
		"--ulimit nofile=10:20 --ulimit=core=-1": {RunFlags: RunFlags{Ulimits: []Ulimit{{"nofile", 10, 20}, {"core", -1, -1}}}},
		"-u 1000:1000":                           {RunFlags: RunFlags{User: "1000:1000"}},
		"--user=me":                              {RunFlags: RunFlags{User: "me"}},
		"-v /a:/b:ro --volume /c:/d":             {Volumes: []string{"/a:/b:ro", "/c:/d"}},
		"-w /x":                                  {WorkDir: "/x"},
		"--workdir=/x":                           {WorkDir: "/x"},
		"-itd":                                   {Detach: true},
		"-dw/x":                                  {Detach: true, WorkDir: "/x"},
		"-itu root":                              {RunFlags: RunFlags{User: "root"}},
		"-e A={{ -e $X=1":                        {Env: []string{"A={{", "$X=1"}},
		"--env \"A=\ue000b\ue001\" -v $X:/y":     {Env: []string{"A=\ue000b\ue001"}, Volumes: []string{"$X:/y"}},
		"--isolation default --restart no":       {},
		"--rm --init --interactive --tty -i -t":  {},
		"-P --publish-all -q --quiet":            {},
		"--disable-content-trust --sig-proxy=0":  {},
		"--no-healthcheck --health-cmd x":        {},
		"-a stdout --attach stderr":              {},
		"--annotation a=b --detach-keys ctrl-a":  {},
		"--expose 80 -l a=b --label c=d":         {},
		"--label-file f --log-driver none":       {},
		"--log-opt a=b --stop-signal INT":        {},
		"--stop-timeout 3 --health-interval 1s":  {},
		"--health-retries 3 --health-timeout 1s": {},
		"--health-start-interval 1s":             {},
		"--health-start-period 1s":               {},
		"--blkio-weight 10":                      {},
		"--blkio-weight-device /dev/sda:10":      {},
		"-c 10 --cpu-shares 10":                  {},
		"--kernel-memory 1g --memory-swap -1":    {},
		"--memory-reservation 1g":                {},
		"--memory-swappiness 0":                  {},
		"--oom-score-adj 10":                     {},
		"--oom-kill-disable=false --help=false":  {},
	}
	for flags, want := range honoured {
		do, err := parseCmd(flags+" img -x --rm", nil)
		if err != nil {
			t.Errorf("%s: %v", flags, err)
			continue
		}
		c := do.(*Cmd)
		if diff := cmp.Diff(want, c.Flags); diff != "" {
			t.Errorf("%s: want (-), got (+):\n%s", flags, diff)
		}
		if c.Image != "img" || !cmp.Equal(c.Args, []string{"-x", "--rm"}) {
			t.Errorf("%s: image %q, arguments %q", flags, c.Image, c.Args)
		}
	}
}

func TestRunFlagsRefused(t *testing.T) {
	for flags, want := range map[string]string{
		"--name x":                      "--name is not supported: a step's id is its name",
		"--link x":                      "--link is not supported: steps reach each other by id",
		"--network-alias x":             "--network-alias is not supported: steps reach",
		"--net-alias x":                 "--net-alias is not supported: steps reach",
		"--domainname x":                "--domainname is not supported",
		"--pid host":                    "--pid is not supported: every container has its own",
		"--ipc host":                    "--ipc is not supported",
		"--uts host":                    "--uts is not supported",
		"--userns host":                 "--userns is not supported",
		"--cgroupns host":               "--cgroupns is not supported",
		"--cgroup-parent x":             "--cgroup-parent is not supported",
		"--volumes-from x":              "--volumes-from is not supported: steps share /workspace",
		"--volume-driver x":             "--volume-driver is not supported",
		"--ip 10.0.0.1":                 "--ip is not supported: the engine gives addresses out",
		"--ip6 ::1":                     "--ip6 is not supported",
		"--link-local-ip x":             "--link-local-ip is not supported",
		"--mac-address x":               "--mac-address is not supported",
		"--dns 1.1.1.1":                 "--dns is not supported: names are found by the host's own resolver",
		"--dns-option x":                "--dns-option is not supported",
		"--dns-opt x":                   "--dns-opt is not supported",
		"--dns-search x":                "--dns-search is not supported",
		"--security-opt x":              "--security-opt is not supported: the seccomp profile",
		"--runtime x":                   "--runtime is not supported",
		"--storage-opt x":               "--storage-opt is not supported",
		"--env-file x":                  "--env-file is not supported: use env:",
		"--tmpfs /x":                    "--tmpfs is not supported",
		"--gpus all":                    "--gpus is not supported",
		"--group-add x":                 "--group-add is not supported: write the group behind the user",
		"--sysctl a=b":                  "--sysctl is not supported",
		"--cpu-period 1":                "--cpu-period is not supported: use --cpus",
		"--cpu-quota 1":                 "--cpu-quota is not supported: use --cpus",
		"--cpu-rt-period 1":             "--cpu-rt-period is not supported",
		"--cpu-rt-runtime 1":            "--cpu-rt-runtime is not supported",
		"--cpuset-cpus 0":               "--cpuset-cpus is not supported",
		"--cpuset-mems 0":               "--cpuset-mems is not supported",
		"--device-cgroup-rule x":        "--device-cgroup-rule is not supported",
		"--device-read-bps x":           "--device-read-bps is not supported",
		"--device-read-iops x":          "--device-read-iops is not supported",
		"--device-write-bps x":          "--device-write-bps is not supported",
		"--device-write-iops x":         "--device-write-iops is not supported",
		"--cpu-count 1":                 "--cpu-count is not supported: it is Windows'",
		"--cpu-percent 1":               "--cpu-percent is not supported",
		"--io-maxbandwidth 1":           "--io-maxbandwidth is not supported",
		"--io-maxiops 1":                "--io-maxiops is not supported",
		"--cidfile x":                   "--cidfile is not supported",
		"--oom-kill-disable":            "--oom-kill-disable is not supported",
		"--use-api-socket":              "--use-api-socket is not supported",
		"--help":                        "--help is not supported",
		"--isolation hyperv":            "--isolation hyperv is not supported: isolation is Windows'",
		"--restart always":              "--restart always is not supported: a step that ends is not started again",
		"--pull never":                  `--pull "never": want always or missing`,
		"--network container:x":         "--network container:x is not supported: write the name of a network",
		"--mount type=volume,dst=/x":    "--mount type=volume is not supported",
		"--mount type=bind,src=a,dst=b": "--mount a:b: a is not a folder of the host",
		"--mount type=bind,size=3":      `--mount has no field "size" here`,
		"-v data:/x":                    "-v data:/x: data is not a folder of the host",
		"-v /x":                         "-v /x: want SOURCE:TARGET[:ro]",
		"-v /x:y":                       "-v /x:y: the target is not absolute",
		"-w x":                          `-w "x" is not an absolute path`,
		"-e =x":                         "-e has no name before the =",
		"-e 'A B=x'":                    `-e "A B" is not a name`,
		"-p 80/udp":                     `-p "80/udp": only tcp is published`,
		"-p 0":                          `-p "0" is not a port`,
		"-p 1-2:3-4":                    `-p "1-2:3-4" is not a port`,
		"-p x:80:80":                    `-p "x:80:80" is not a port`,
		"--add-host db":                 `--add-host "db": want NAME:ADDRESS`,
		"--add-host db:x":               `--add-host "db:x": "x" is not an IP address`,
		"--add-host db:host-gateway":    "--add-host host-gateway is not supported",
		"--cap-add 'a b'":               `--cap-add "CAP_A B" is not a capability`,
		"--platform windows/amd64":      `--platform "windows/amd64" needs Windows`,
		"--platform linux/":             `--platform "linux/" is not a platform`,
		"--cpus many":                   `--cpus "many" is not a number of processors`,
		"--cpus NaN":                    `--cpus "NaN" is not a number of processors`,
		"--memory lots":                 `--memory "lots" is not a size`,
		"--memory -1":                   `--memory "-1" is not a size`,
		"--memory 9e99g":                `--memory "9e99g" is not a size`,
		"--pids-limit x":                `--pids-limit "x" is not a number`,
		"--ulimit nofile":               `--ulimit "nofile" is not a limit: want NAME=SOFT[:HARD]`,
		"--ulimit files=1":              `--ulimit "files" is not a limit that Linux has`,
		"--ulimit nofile=2:1":           `--ulimit "nofile=2:1" has a soft limit above its hard limit`,
		"-d=maybe":                      `-d "maybe" is neither true nor false`,
		"--frob":                        "unknown flag: --frob",
		"-Z":                            "unknown flag: -Z",
		"-name x":                       "unknown flag: -name: write --name",
		"":                              "",
	} {
		do, err := parseCmd(flags+" img", nil)
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %+v, %v; want %q", flags, do, err, want)
		}
	}
}

// TestCmdFaults holds a line to all its faults at once, each at its place.
func TestCmdFaults(t *testing.T) {
	line := "-w x --name y -e A=1 --frob z --memory lots img"
	_, err := parseCmd(line, nil)
	var got []string
	for _, f := range lineFaults(err) {
		got = append(got, line[f.Offset:f.Offset+2]+" "+f.Msg)
	}
	want := []string{
		`-w -w "x" is not an absolute path`, "-- --name is not supported: a step's id is its name",
		"-- unknown flag: --frob", `-- --memory "lots" is not a size: want a number with b, k, m or g`,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("want (-), got (+):\n%s", diff)
	}
	for line, want := range map[string]string{"": "names no image", "-d": "names no image", "-e": "flag needs a value: -e", "'' x": "names no image", "-- ": "names no image"} {
		if _, err := parseCmd(line, nil); err == nil || err.Error() != want {
			t.Errorf("%q: %v, want %q", line, err, want)
		}
	}
}

// TestDockerCommands holds docker's own command line to what it means here.
func TestDockerCommands(t *testing.T) {
	build := func(tag string) *Build {
		return &Build{Options: BuildOptions{Tags: []string{tag}}, Context: Context{Path: "."}}
	}
	for line, want := range map[string]Action{
		"docker build -t a .":                    build("a"),
		"docker image build -t a .":              build("a"),
		"docker builder build -t a .":            build("a"),
		"docker buildx build --load -t a .":      &Build{Options: BuildOptions{Tags: []string{"a"}, Load: true}, Context: Context{Path: "."}},
		"docker -D --log-level debug build -ta":  build("a"),
		"docker push r.io/a:1":                   NewPush([]string{"r.io/a:1"}),
		"docker push -q r.io/a":                  NewPush([]string{"r.io/a"}),
		"docker image push a":                    NewPush([]string{"a"}),
		"docker run --rm -d img a -b":            &Cmd{Image: "img", Args: []string{"a", "-b"}, Flags: CmdFlags{Detach: true}},
		"docker container run img":               &Cmd{Image: "img"},
		"docker version":                         &Cmd{Image: "docker", Args: []string{"version"}},
		"docker --version":                       &Cmd{Image: "docker", Args: []string{"--version"}},
		"docker":                                 &Cmd{Image: "docker"},
		"docker:cli build .":                     &Cmd{Image: "docker:cli", Args: []string{"build", "."}},
		"alpine docker build .":                  &Cmd{Image: "alpine", Args: []string{"docker", "build", "."}},
		"docker build -t a -f b/Dockerfile -- .": &Build{Options: BuildOptions{Tags: []string{"a"}, File: "b/Dockerfile"}, Context: Context{Path: "."}},
	} {
		got, err := parseCmd(line, nil)
		if err != nil {
			t.Errorf("%s: %v", line, err)
			continue
		}
		switch got := got.(type) {
		case *Cmd:
			got.Line = ""
		case *Build:
			got.Line = ""
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: want (-), got (+):\n%s", line, diff)
		}
	}
}

func TestDockerCommandsRefused(t *testing.T) {
	for line, want := range map[string]string{
		"docker login -u x -p y r.io":           "docker login is not supported: leave it out: the credentials of the run are there",
		"docker login -u x --password-stdin <f": "docker login is not supported: leave it out",
		"docker logout":                         "docker logout is not supported: leave it out",
		"docker tag a b":                        "docker tag is not supported: give the image all its names where it is built: build: -t NAME -t OTHER",
		"docker image tag a b":                  "docker image tag is not supported: give the image all its names",
		"docker pull a":                         "pull: true asks its registry anew",
		"docker image pull a":                   "docker image pull is not supported: leave it out",
		"docker manifest create a b":            "--platform linux/amd64,linux/arm64 makes an index",
		"docker buildx imagetools create":       "docker buildx imagetools is not supported: build all platforms at once",
		"docker buildx create --use":            "docker buildx create is not supported: a step starts",
		"docker buildx bake":                    "docker buildx bake is not supported: use build: steps",
		"docker buildx":                         "docker buildx is not supported: use build: steps",
		"docker logs a":                         "acrd logs RUN --step ID",
		"docker exec a b":                       "docker exec is not supported: use a step of its own",
		"docker container exec a b":             "docker container exec is not supported: use a step of its own",
		"docker cp a b":                         "docker cp is not supported: write to /workspace",
		"docker compose up":                     "docker compose is not supported: make each service a step with detach: true",
		"docker save a":                         "docker save is not supported: use build: --output type=oci,dest=FILE",
		"docker load":                           "docker load is not supported: build the image in this run",
		"docker rm -f a":                        "docker rm is not supported: leave it out",
		"docker stop a":                         "docker stop is not supported: leave it out",
		"docker rmi a":                          "docker rmi is not supported: leave it out",
		"docker system prune":                   "docker system is not supported: leave it out",
		"docker ps":                             "docker ps is not supported: there is no docker engine to ask",
		"docker inspect a":                      "docker inspect is not supported: there is no docker engine to ask",
		"docker network create a":               "docker network is not supported: list it under networks:",
		"docker volume create a":                "docker volume is not supported",
		"docker wait a":                         "docker wait is not supported: a step waits for those in its when:",
		"docker frob":                           "docker frob is not supported: there is no docker engine around a step",
		"docker sh -c x":                        "the image of that name is docker:cli",
		"docker -H tcp://x build .":             "-H is not supported: there is no docker engine around a step",
		"docker --config x push a":              "--config is not supported: credentials are the run's",
		"docker push a b":                       "docker push takes one image, not 2",
		"docker push":                           "docker push takes one image, not 0",
		"docker push -a a":                      "-a is not supported: name each tag in a push: step",
		"docker push A":                         "repository name (A) must be lowercase",
		"docker build -t A .":                   "repository name (A) must be lowercase",
		"docker run --name x img":               "--name is not supported",
		"-e A=1 docker build .":                 "flags in front of docker is not supported",
		"docker build . | tee log":              "| needs a shell",
	} {
		do, err := parseCmd(line, nil)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %+v, %v; want %q", line, do, err, want)
		}
	}
}

// TestDockerSteps puts docker's commands through the whole parser.
func TestDockerSteps(t *testing.T) {
	f, err := Parse("t.yaml", []byte("steps:\n  - cmd: docker build -t a:1 .\n  - cmd: docker push a:1\n  - cmd: docker run -w /x img\n"), Options{})
	if err != nil {
		t.Fatal(err)
	}
	if b, ok := f.Steps[0].Do.(*Build); !ok || b.Line != "docker build -t a:1 ." {
		t.Errorf("the first step does %+v", f.Steps[0].Do)
	}
	if diff := cmp.Diff([]string{"a:1"}, f.Pushes()); diff != "" {
		t.Errorf("pushes: want (-), got (+):\n%s", diff)
	}
	if f.Steps[2].WorkingDirectory != "/x" {
		t.Errorf("the third step works in %s", f.Steps[2].WorkingDirectory)
	}
}

func FuzzCmdLine(f *testing.F) {
	for _, line := range []string{
		"img a", "-e A=1 --rm -it img -x", "docker build -t a .", "docker push a", "docker run -d img", "-v /a:/b:ro img", "--mount type=bind,src=/a,dst=/b img",
		"--frob x img", "docker -D buildx build .", "--ulimit nofile=1:2 --memory 1g img", "-itd img", "--add-host a:[::1] -p 1:2 img", "x | docker login",
	} {
		f.Add(line)
	}
	f.Fuzz(func(t *testing.T, line string) {
		do, err := parseCmd(line, nil)
		checkLineFaults(t, line, err)
		c, ok := do.(*Cmd)
		switch {
		case err != nil && do != nil, err == nil && do == nil:
			t.Errorf("%q: %+v and %v", line, do, err)
		case ok && c.Image == "":
			t.Errorf("%q: no image", line)
		}
	})
}

// checkFaults holds an error to places that are in the line.
func checkLineFaults(t *testing.T, line string, err error) {
	if err == nil {
		return
	}
	if many, ok := errors.AsType[lineErrors](err); ok && (len(many) == 0 || len(many) > maxLineErrors+1) {
		t.Errorf("%q: %d faults", line, len(many))
	}
	for _, f := range lineFaults(err) {
		if f.Msg == "" || f.Offset > len(line) {
			t.Errorf("%q: fault %+v", line, f)
		}
	}
}
