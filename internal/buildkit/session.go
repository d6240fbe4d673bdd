package buildkit

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"acrd/internal/buildkit/control"
	"acrd/steps"

	"github.com/distribution/reference"
	"github.com/moby/buildkit/client"
	bksession "github.com/moby/buildkit/session"
	"golang.org/x/sync/errgroup"
)

// A workshop is what builds of one run have in common: what the run may do,
// and what it has built.
type workshop struct {
	place      *steps.Place
	registries *Registries

	mu     sync.Mutex // guards images
	images map[string]*runImage
}

// A runImage is an image that this run has built. Its name is how BuildKit
// finds it, docker-image://... or oci-layout://...
type runImage struct{ name, digest string }

func newWorkshop(p *steps.Place, r *Registries) workshop {
	return workshop{place: p, registries: r, images: map[string]*runImage{}}
}

func (s *workshop) allowed(word string) bool { return slices.Contains(s.place.Allow, word) }

// A runSession is one run in the engine child. It implements steps.Session.
type runSession struct {
	workshop
	gen *generation

	execs    atomic.Int64
	detached sync.WaitGroup
	stopping chan struct{} // closed when detached commands must end

	state  sync.Mutex // guards what follows
	loan   *loan
	closed bool
}

func newSession(g *generation, p *steps.Place, r *Registries) *runSession {
	return &runSession{workshop: newWorkshop(p, r), gen: g, stopping: make(chan struct{})}
}

// Close ends the detached commands, gives BuildKit back what the run held, and
// removes everything else that the engine has of it.
func (s *runSession) Close(ctx context.Context) error {
	s.state.Lock()
	if s.closed {
		s.state.Unlock()
		return nil
	}
	s.closed = true
	loan := s.loan
	s.state.Unlock()
	bound, cancel := s.gen.bind(ctx)
	defer cancel()
	close(s.stopping)
	s.detached.Wait()
	err := s.gen.control.CloseRun(bound, s.place.Run)
	if loan != nil {
		err = errors.Join(err, loan.end())
	}
	if errors.Is(s.gen.blame(bound, err), steps.ErrEngineStopped) {
		s.gen.reaped(ctx)
		return nil
	}
	return err
}

// A loan is what a run's commands and pushes borrow from BuildKit: a session
// with the run's credentials, and a solve that holds the images in use. Runs
// that only build do without.
type loan struct {
	session *bksession.Session
	cancel  context.CancelFunc
	group   *errgroup.Group
}

// end takes the loan back. The solve has ended already, with the run.
func (l *loan) end() error {
	err := l.session.Close()
	l.cancel()
	_ = l.group.Wait() // its end was asked for
	return err
}

// borrow takes out the loan when it is first needed.
func (s *runSession) borrow() (*loan, error) {
	s.state.Lock()
	defer s.state.Unlock()
	switch {
	case s.closed:
		return nil, errors.New("the run is closed")
	case s.loan != nil:
		return s.loan, nil
	}
	// Its life is the run's, not that of the step that needed it first.
	ctx, cancel := s.gen.bind(context.Background())
	bk, err := bksession.NewSession(ctx, "")
	if err != nil {
		cancel()
		return nil, fmt.Errorf("session: %w", err)
	}
	bk.Allow(newAuth(s.place.Credentials, s.registries))
	l := &loan{session: bk, cancel: cancel, group: &errgroup.Group{}}
	l.group.Go(func() error { return bk.Run(ctx, s.gen.kit.Dialer()) })
	l.group.Go(func() error {
		_, err := s.gen.kit.Solve(ctx, nil, client.SolveOpt{
			Frontend: control.RunFrontend, FrontendAttrs: map[string]string{control.RunOption: s.place.Run},
			SharedSession: bk, SessionPreInitialized: true, Internal: true,
		}, nil)
		return err
	})
	s.loan = l
	return l, nil
}

// sessionID is for pushes: without credentials there is nothing to lend.
func (s *runSession) sessionID() (string, error) {
	if len(s.place.Credentials) == 0 {
		return "", nil
	}
	l, err := s.borrow()
	if err != nil {
		return "", err
	}
	return l.session.ID(), nil
}

// own finds an image of this run by any of its names.
func (s *workshop) own(ref string) (*runImage, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	i, ok := s.images[familiar(ref)]
	return i, ok
}

// ownImages is a copy of what the run has built, by familiar name.
func (s *workshop) ownImages() map[string]*runImage {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.images)
}

func (s *workshop) keep(tags []string, i *runImage) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, t := range tags {
		s.images[familiar(t)] = i
	}
}

// storeName is what the engine's store calls the image of a tag: valid for
// any tag, and different for each run.
func (s *workshop) storeName(tag string) string {
	sum := sha256.Sum256([]byte(familiar(tag)))
	return control.ImageName(s.place.Run, hex.EncodeToString(sum[:16]))
}

// familiar is a reference as people write it, without what docker adds.
func familiar(ref string) string {
	named, err := reference.ParseNormalizedNamed(ref)
	if err != nil {
		return ref
	}
	return strings.TrimSuffix(reference.FamiliarString(named), ":latest")
}

// secretFiles are what the engine keeps in memory for the run: volumes, and
// the docker config that steps find in their home.
func (s *runSession) secretFiles() map[string][]byte {
	files := map[string][]byte{"docker/config.json": dockerConfig(s.place.Credentials)}
	for _, v := range s.place.Volumes {
		for name, content := range v.Files {
			files["volumes/"+v.Name+"/"+name] = content
		}
	}
	return files
}

// dockerConfig is ~/.docker/config.json with the run's credentials, which is
// how tools in steps log in to the run's registries.
func dockerConfig(credentials []steps.Credential) []byte {
	type auth struct {
		Auth string `json:"auth"`
	}
	config := struct {
		Auths map[string]auth `json:"auths"`
	}{map[string]auth{}}
	for _, c := range credentials {
		config.Auths[c.Registry] = auth{base64.StdEncoding.EncodeToString([]byte(c.Username + ":" + c.Password))}
	}
	b, err := json.Marshal(config)
	if err != nil { // strings always encode
		return []byte("{}")
	}
	return b
}

// doorAddress is where a step finds the daemon's registry: under the very name
// that its images have.
func doorAddress(registry string) string {
	_, port, err := net.SplitHostPort(registry)
	if err != nil {
		port = "80"
	}
	return net.JoinHostPort("127.0.0.1", port)
}
