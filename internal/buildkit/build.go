package buildkit

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"acrd/internal/buildkit/control"
	"acrd/internal/dockerfile"
	"acrd/internal/pattern"
	"acrd/steps"

	"github.com/moby/buildkit/client"
	gatewaypb "github.com/moby/buildkit/frontend/gateway/pb"
	bksession "github.com/moby/buildkit/session"
	"github.com/moby/buildkit/session/secrets/secretsprovider"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Build builds an image and keeps it in the engine's store. It has a BuildKit
// session of its own: a second build in one session would see the files of the
// first.
func (s *runSession) Build(ctx context.Context, op *steps.BuildOp, out io.Writer) (*steps.Image, error) {
	if err := s.permit(op.Needs()); err != nil {
		return nil, err
	}
	in, err := openInputs(op)
	if err != nil {
		return nil, &steps.BuildError{Err: err}
	}
	defer in.close()
	o, err := s.solveOptions(op, in)
	if err != nil {
		return nil, err
	}
	o.Exports = s.exports(op, in)
	bound, cancel := s.gen.bind(ctx)
	defer cancel()
	response, err := s.solve(bound, o, op, out)
	if err != nil {
		if blamed := s.gen.blame(bound, err); errors.Is(blamed, steps.ErrEngineStopped) && context.Cause(ctx) == nil {
			return nil, blamed
		}
		return nil, buildError(ctx, err)
	}
	if op.Pushed && len(op.Tags) > 0 {
		if err := s.compress(bound, o, op, response); err != nil {
			return nil, s.gen.blame(bound, err)
		}
	}
	image, err := s.built(op, in, response)
	if err == nil {
		s.keep(op.Tags, &runImage{name: "docker-image://" + s.storeName(first(op.Tags)), digest: image.Digest})
	}
	return image, err
}

// compress makes an image that will be pushed one of gzip layers, whatever
// earlier builds have left of them. BuildKit can be told so from the start, but
// then takes a quarter longer for a build that is cached, in which there is
// nothing to do.
func (s *runSession) compress(ctx context.Context, o client.SolveOpt, op *steps.BuildOp, done *solved) error {
	ok, err := gzipped(ctx, s.gen.kit, done.response)
	if ok || err != nil {
		return err
	}
	image := &o.Exports[len(o.Exports)-1]
	image.Attrs["force-compression"] = "true"
	o.Exports, o.CacheExports = []client.ExportEntry{*image}, nil
	quiet := *op
	quiet.Progress = nil
	again, err := s.show(ctx, s.gen.kit, o, &quiet, io.Discard)
	if err != nil {
		return err
	}
	maps.Copy(done.response, again.response)
	return nil
}

func first(list []string) string {
	if len(list) == 0 {
		return ""
	}
	return list[0]
}

// solve runs the build, and once more if the disk was full and could be freed.
func (s *runSession) solve(ctx context.Context, o client.SolveOpt, op *steps.BuildOp, out io.Writer) (*solved, error) {
	for try := 0; ; try++ {
		response, err := s.show(ctx, s.gen.kit, o, op, out)
		if err == nil {
			return response, nil
		}
		full := status.Code(err) == codes.ResourceExhausted || strings.Contains(err.Error(), "no space left on device")
		if !full || try > 0 || ctx.Err() != nil {
			return nil, err
		}
		fmt.Fprintln(out, "The disk is full: removing unused build cache and trying again.")
		if err := s.gen.control.FreeSpace(ctx); err != nil {
			return nil, err
		}
	}
}

// A solved build is what BuildKit says of it, and how much of it was there
// already.
type solved struct {
	response map[string]string
	tally    tally
}

// show runs one build and shows its progress.
func (s *workshop) show(ctx context.Context, kit *client.Client, o client.SolveOpt, op *steps.BuildOp, out io.Writer) (*solved, error) {
	statuses, counted := make(chan *client.SolveStatus), make(chan *client.SolveStatus)
	count := tally{}
	go func() {
		defer close(counted)
		for status := range statuses {
			count.add(status)
			counted <- status
		}
	}()
	shown := make(chan error, 1)
	go func() { shown <- show(ctx, counted, s.names(op), out, op.Progress) }()
	r, err := kit.Solve(ctx, nil, o, statuses)
	if e := <-shown; err == nil && e != nil {
		err = e
	}
	if err != nil {
		return nil, err
	}
	return &solved{r.ExporterResponse, count}, nil
}

// names replaces the names that images have in the engine's store by tags.
func (s *workshop) names(op *steps.BuildOp) *strings.Replacer {
	var pairs []string
	for tag, image := range s.ownImages() {
		if name, ok := strings.CutPrefix(image.name, "docker-image://"); ok {
			pairs = append(pairs, name, tag)
		}
	}
	pairs = append(pairs, s.storeName(""), "no name")
	if len(op.Tags) > 0 {
		pairs = append(pairs, s.storeName(op.Tags[0]), strings.Join(op.Tags, ", "))
	}
	return strings.NewReplacer(pairs...)
}

func (s *workshop) built(op *steps.BuildOp, in *inputs, done *solved) (*steps.Image, error) {
	response := done.response
	image := &steps.Image{Tags: op.Tags, Digest: response["containerimage.digest"], Built: time.Now()}
	image.Parts, image.Cached = done.tally.count()
	var resolved []control.Resolved
	if text := response[control.ResolvedKey]; text != "" {
		if err := json.Unmarshal([]byte(text), &resolved); err != nil {
			return nil, fmt.Errorf("read what the build resolved: %w", err)
		}
	}
	for ref, digest := range op.Pins {
		resolved = append(resolved, control.Resolved{Ref: ref, Digest: digest})
	}
	s.dependencies(image, in.scan, resolved)
	return image, nil
}

// dependencies joins what the Dockerfile says about the role of an image with
// what BuildKit found under its name.
func (s *workshop) dependencies(image *steps.Image, scan *dockerfile.Scan, resolved []control.Resolved) {
	digest := map[string]string{}
	for _, r := range resolved {
		digest[familiar(r.Ref)] = r.Digest
	}
	find := func(ref string) steps.Dependency {
		d := steps.Dependency{Ref: ref, Digest: digest[familiar(ref)]}
		if own, ok := s.own(ref); ok {
			d.Digest = own.digest
		}
		return d
	}
	if scan.Runtime != "" {
		d := find(scan.Runtime)
		image.Runtime = &d
	}
	for _, ref := range scan.BuildTime {
		image.BuildTime = append(image.BuildTime, find(ref))
	}
}

// buildEntitlements are the words that BuildKit knows among those granted.
func (s *workshop) buildEntitlements() []string {
	var words []string
	for _, w := range []string{steps.AllowInsecure, steps.AllowHostNet, steps.AllowDevice} {
		if s.allowed(w) {
			words = append(words, w)
		}
	}
	return words
}

func (s *workshop) solveOptions(op *steps.BuildOp, in *inputs) (client.SolveOpt, error) {
	attrs, err := s.attributes(op, in)
	if err != nil {
		return client.SolveOpt{}, err
	}
	o := client.SolveOpt{
		Frontend: "dockerfile.v0", FrontendAttrs: attrs, LocalMounts: in.mounts,
		// The engine compares a folder with what it last saw under its key.
		SharedKey:           in.key,
		AllowedEntitlements: s.buildEntitlements(),
		Session:             []bksession.Attachable{newAuth(s.place.Credentials, s.registries), secretsprovider.FromMap(in.secrets)},
		Internal:            true,
	}
	if len(op.SSH) > 0 {
		agents, err := s.agents(op, in)
		if err != nil {
			return o, err
		}
		o.Session = append(o.Session, agents)
	}
	if o.CacheImports, err = cacheEntries(op.CacheFrom); err != nil {
		return o, err
	}
	if o.CacheExports, err = cacheEntries(op.CacheTo); err != nil {
		return o, err
	}
	if op.CacheRef != "" {
		o.CacheImports = append(o.CacheImports, client.CacheOptionsEntry{Type: "registry", Attrs: map[string]string{"ref": op.CacheRef}})
		o.CacheExports = append(o.CacheExports, client.CacheOptionsEntry{Type: "registry", Attrs: map[string]string{
			"ref": op.CacheRef, "mode": "max", "ignore-error": "true", // a cache is not worth a failed build
		}})
	}
	return o, nil
}

// annotationKind is what of an image an annotation is for: KIND[PLATFORM]:
var annotationKind = pattern.New(`^((?:index|manifest)(?:-descriptor)?(?:\[[^\]]*\])?):`)

// exportAttributes are those of the image. Compressing costs more than
// building, so only what will be pushed is compressed; see compress for the rest
// of it.
func exportAttributes(op *steps.BuildOp) map[string]string {
	attrs := map[string]string{"compression": "uncompressed"}
	if op.Pushed {
		attrs["compression"] = "gzip"
	}
	for _, a := range op.Annotations {
		key, value, _ := strings.Cut(a, "=")
		if kind := annotationKind().FindStringSubmatch(key); kind != nil {
			attrs["annotation-"+kind[1]+"."+strings.TrimPrefix(key, kind[0])] = value
			continue
		}
		attrs["annotation."+key] = value
	}
	return attrs
}

// attributes are the options of the Dockerfile frontend.
func (s *workshop) attributes(op *steps.BuildOp, in *inputs) (map[string]string, error) {
	a := map[string]string{
		"filename": in.dockerfile,
		// An image that names another frontend is not run as one.
		"cmdline": "builtin",
	}
	set := func(key, value string) {
		if value != "" {
			a[key] = value
		}
	}
	set("target", op.Target)
	set("platform", strings.Join(op.Platforms, ","))
	if len(op.NoCacheFilter) > 0 {
		a["no-cache"] = strings.Join(op.NoCacheFilter, ",")
	}
	if op.NoCache {
		a["no-cache"] = ""
	}
	if op.Pull {
		a["image-resolve-mode"] = "pull"
	}
	if op.Network == "host" || op.Network == "none" {
		a["force-network-mode"] = op.Network
	}
	var hosts []string
	for _, h := range op.AddHosts {
		name, ip, _ := strings.Cut(h, ":")
		hosts = append(hosts, name+"="+ip)
	}
	set("add-hosts", strings.Join(hosts, ","))
	if op.ShmSize > 0 {
		a["shm-size"] = strconv.FormatInt(op.ShmSize, 10)
	}
	limits(a, op.Limits)
	var ulimits []string
	for _, u := range op.Ulimits {
		ulimits = append(ulimits, fmt.Sprintf("%s=%d:%d", u.Name, u.Soft, u.Hard))
	}
	set("ulimit", strings.Join(ulimits, ","))
	for _, list := range []struct {
		prefix string
		pairs  []string
	}{{"build-arg:", op.BuildArgs}, {"label:", op.Labels}} {
		for _, p := range list.pairs {
			key, value, _ := strings.Cut(p, "=")
			a[list.prefix+key] = value
		}
	}
	setCacheScope(a, op.CacheScope)
	if err := attestations(a, op.Attests); err != nil {
		return nil, err
	}
	for ref, digest := range op.Pins {
		a["context:"+familiar(ref)] = "docker-image://" + ref + "@" + digest
	}
	maps.Copy(a, s.ownContexts())
	return a, s.namedContexts(a, op, in)
}

// setCacheScope gives cache mounts names of their own. The layers of a RUN that
// uses one are not told apart by such a name, but they are by the names in
// /etc/hosts.
func setCacheScope(attrs map[string]string, scope string) {
	if scope == "" {
		return
	}
	attrs["build-arg:BUILDKIT_CACHE_MOUNT_NS"] = scope
	host := fmt.Sprintf("%.16x.cache.invalid=127.0.0.1", sha256.Sum256([]byte(scope)))
	attrs["add-hosts"] = strings.TrimPrefix(attrs["add-hosts"]+","+host, ",")
}

// limits are those of every RUN.
func limits(attrs map[string]string, l steps.BuildLimits) {
	for key, n := range map[string]int64{
		"memory": l.Memory, "memswap": l.MemorySwap, "cpushares": l.CPUShares, "cpuperiod": l.CPUPeriod, "cpuquota": l.CPUQuota,
	} {
		if n != 0 {
			attrs[key] = strconv.FormatInt(n, 10)
		}
	}
	for key, set := range map[string]string{"cpusetcpus": l.CPUSetCPUs, "cpusetmems": l.CPUSetMems} {
		if set != "" {
			attrs[key] = set
		}
	}
}

// ownContexts let FROM and COPY --from find what the run has built.
func (s *workshop) ownContexts() map[string]string {
	contexts := map[string]string{}
	for name, image := range s.ownImages() {
		contexts["context:"+name] = image.name
	}
	return contexts
}

func attestations(attrs map[string]string, specs []string) error {
	for _, spec := range specs {
		fields := strings.SplitN(spec, ",", 2)
		kind, ok := strings.CutPrefix(fields[0], "type=")
		if !ok {
			return &steps.RefusedError{Reason: fmt.Sprintf("--attest %s: want type=sbom or type=provenance first", spec)}
		}
		attrs["attest:"+kind] = strings.Join(fields[1:], "")
	}
	return nil
}

// namedContexts are --build-context NAME=VALUE: an image, a URL, or a folder
// of the workspace.
func (s *workshop) namedContexts(attrs map[string]string, op *steps.BuildOp, in *inputs) error {
	for i, spec := range op.Contexts {
		name, value, ok := strings.Cut(spec, "=")
		if !ok || name == "" {
			return &steps.RefusedError{Reason: fmt.Sprintf("--build-context %s: want NAME=VALUE", spec)}
		}
		name = familiar(name) // as buildx writes it: alpine:latest is alpine
		if image, ok := strings.CutPrefix(value, "docker-image://"); ok {
			if own, ok := s.own(image); ok {
				value = own.name
			}
			attrs["context:"+name] = value
			continue
		}
		if strings.Contains(value, "://") {
			attrs["context:"+name] = value
			continue
		}
		local := fmt.Sprintf("named-%d", i)
		if err := in.addFolder(local, op, value); err != nil {
			return &steps.BuildError{Err: fmt.Errorf("build context %s: %w", name, err)}
		}
		attrs["context:"+name] = "local:" + local
	}
	return nil
}

// cacheEntries read docker's csv: type=registry,ref=..., or a bare reference.
// Only what a registry or the image itself holds survives here.
func cacheEntries(specs []string) ([]client.CacheOptionsEntry, error) {
	var all []client.CacheOptionsEntry
	for _, spec := range specs {
		e := client.CacheOptionsEntry{Type: "registry", Attrs: map[string]string{}}
		for field := range strings.SplitSeq(spec, ",") {
			key, value, ok := strings.Cut(field, "=")
			switch {
			case !ok:
				e.Attrs["ref"] = field
			case key == "type":
				e.Type = value
			default:
				e.Attrs[key] = value
			}
		}
		if e.Type != "registry" && e.Type != "inline" {
			return nil, &steps.RefusedError{Reason: fmt.Sprintf("cache type %q is not supported: the engine keeps its own cache; use type=registry to share it, or type=inline", e.Type)}
		}
		all = append(all, e)
	}
	return all, nil
}

// buildError says whose fault it is: a Dockerfile's command (its exit code),
// or what the build was given.
func buildError(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	var exit *gatewaypb.ExitError
	if errors.As(err, &exit) && exit.ExitCode != gatewaypb.UnknownExitStatus {
		return &steps.ExitError{Code: int(exit.ExitCode), Reason: plain(err)}
	}
	return &steps.BuildError{Err: errors.New(plain(err))}
}

// plain takes the gRPC wrapping off an error's text.
func plain(err error) string {
	text := err.Error()
	if st, ok := status.FromError(err); ok {
		text = st.Message()
	}
	if strings.Contains(text, "string field contains invalid UTF-8") {
		text = "the context has a file whose name is not UTF-8, which a build cannot carry: rename it, or name it in .dockerignore"
	}
	text = outOfContext().ReplaceAllString(text, "$1 is a link that leads out of the context: put the file itself there")
	return strings.TrimPrefix(text, "failed to solve: ")
}

// outOfContext is what os.Root says of a COPY by way of a link.
var outOfContext = pattern.New(`[a-z]+at (\S+): path escapes from parent`)

// folderKey names a folder to BuildKit's own diffing.
func folderKey(op *steps.BuildOp, path string) string {
	rel, err := filepath.Rel(op.Workspace, path)
	if err != nil {
		rel = path
	}
	return op.ContextKey + ":" + rel
}

func readLimited(root *os.Root, name string, limit int64) ([]byte, error) {
	f, err := openFile(root, name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(b)) > limit {
		err = fmt.Errorf("%s is larger than %d KiB", name, limit>>10)
	}
	return b, err
}
