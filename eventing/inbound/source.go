package inbound

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"acrd/eventing"
)

// A Source is a registry that may speak here, at an address that nobody else
// knows: /hooks/KIND/TOKEN.
type Source struct {
	Name string `json:"name"`
	Kind Kind   `json:"kind"`
	// Registry is the host that the source speaks for, as images name it. It
	// speaks for no other, whatever it calls itself.
	Registry string `json:"registry"`
	// Hash is HashToken of the token in its address.
	Hash string `json:"-"`
	// Secret names the secret of acrd that hooks must prove to know; empty is
	// none. Header carries it; empty is what the kind uses.
	Secret string `json:"secret,omitempty"`
	Header string `json:"header,omitempty"`
	// Credential names the secret of acrd that opens the registry, as
	// USER:PASSWORD, to look whether a notice is true; empty is nobody.
	Credential string `json:"credential,omitempty"`
	// Trusted sources are believed: for registries that cannot be asked.
	Trusted bool `json:"trusted,omitempty"`
	// ConnectedRegistry is the name under which what the source says is told
	// to subscribers; empty does not tell them.
	ConnectedRegistry string    `json:"connectedRegistry,omitempty"`
	Created           time.Time `json:"created"`
}

// HashToken is how a token is kept. It is so random that it needs no salt.
func HashToken(token string) string {
	sum := sha256.Sum256([]byte(token))
	return hex.EncodeToString(sum[:])
}

// Check finds what is wrong with a source, and fills in what its kind says.
func (s *Source) Check() error {
	if s.Registry == "" {
		s.Registry = s.Kind.Registry()
	}
	switch {
	case !isName(s.Name, 64):
		return fmt.Errorf("the name %q is not 1 to 64 letters, digits, dots, dashes and underscores", s.Name)
	case !slices.Contains(Kinds, s.Kind):
		return fmt.Errorf("the kind %q is none of %s", s.Kind, kindList())
	case s.Registry == "":
		return fmt.Errorf("a source of kind %s needs the host of the registry that it speaks for, as images name it", s.Kind)
	case strings.ContainsAny(s.Registry, "/@ ") || strings.Contains(s.Registry, "://"):
		return fmt.Errorf("the registry %q is not a host, with a port or without", s.Registry)
	case s.ConnectedRegistry != "" && !isName(s.ConnectedRegistry, 50):
		return fmt.Errorf("the connected registry's name %q is not 1 to 50 letters, digits, dots, dashes and underscores", s.ConnectedRegistry)
	case s.Trusted && s.Secret == "":
		return errors.New("a source that is believed needs a secret that its hooks prove to know")
	case s.Trusted && slices.Contains([]Kind{DockerHub, Quay, GAR}, s.Kind):
		return fmt.Errorf("hooks of %s prove nothing: what they say has to be looked up", s.Kind)
	case s.Header != "" && slices.Contains([]Kind{GHCR, Gitea, Forgejo}, s.Kind):
		return fmt.Errorf("hooks of %s are signed: no header carries their secret", s.Kind)
	case s.Secret != "" && slices.Contains([]Kind{DockerHub, Quay, GAR}, s.Kind):
		return fmt.Errorf("hooks of %s know no secret but the address that they are sent to", s.Kind)
	}
	return nil
}

func kindList() string {
	var all []string
	for _, k := range Kinds {
		all = append(all, string(k))
	}
	return strings.Join(all, ", ")
}

func isName(s string, most int) bool {
	return s != "" && len(s) <= most && s[0] != '.' && s[0] != '-' && madeOf(strings.ToLower(s), "abcdefghijklmnopqrstuvwxyz0123456789._-")
}

// What the callers of a store test for.
var (
	// ErrNotFound says that there is no such source.
	ErrNotFound = errors.New("there is no such event source")
	// ErrTaken says that a source has the name.
	ErrTaken = errors.New("there is an event source of that name")
	// ErrFull says that a source has too many notices open.
	ErrFull = errors.New("too many notices wait to be looked at")
	// ErrFenced says that somebody else looks at a notice by now.
	ErrFenced = errors.New("the notice was taken over")
)

// Sources keep sources. internal/store implements it.
type Sources interface {
	// AddSource is ErrTaken if there is one of that name.
	AddSource(ctx context.Context, s *Source) error
	// Source and SourceByHash are ErrNotFound if there is none.
	Source(ctx context.Context, name string) (*Source, error)
	SourceByHash(ctx context.Context, hash string) (*Source, error)
	// Sources are sorted by name.
	Sources(ctx context.Context) ([]Source, error)
	// ChangeSource changes all of a source but its name and hash, in one step;
	// an error of change leaves it as it is. It is ErrNotFound if there is
	// none.
	ChangeSource(ctx context.Context, name string, change func(*Source) error) (*Source, error)
	// DeleteSource forgets a source, and what it has said. It is ErrNotFound
	// if there is none.
	DeleteSource(ctx context.Context, name string) error
	// Recent are the latest notices of a source, newest first.
	Recent(ctx context.Context, source string, limit int) ([]Received, error)
}

// A Received notice is one that was accepted.
type Received struct {
	Notice
	At time.Time // when it came
	// Outcome is what became of it; empty if that is open.
	Outcome Outcome
	// Why says more of an outcome, or why it is open still.
	Why string
	// Tries are how often the registry was asked.
	Tries int
}

// An Outcome is what became of a notice.
type Outcome string

// The outcomes. Known is what was true, and told before.
const (
	Confirmed   Outcome = "confirmed"
	Known       Outcome = "known"
	Unconfirmed Outcome = "unconfirmed"
)

// A Claim is that one source's notices are looked at by one, in order.
type Claim struct{ Source, Key string }

// A Queue keeps notices that nobody has looked at yet, and those that were, for
// a day. Each method is one transaction. internal/store implements it.
type Queue interface {
	// AddNotices keeps those that were not received before, and says how many
	// these are. It is ErrFull if most of that source are open.
	AddNotices(ctx context.Context, source string, notices []Notice, most int) (fresh int, err error)
	// ClaimSource finds a source with notices that are due and that nobody
	// has claimed; false if there is none.
	ClaimSource(ctx context.Context, now time.Time, lease time.Duration) (Claim, bool, error)
	// FreeSources ends all claims, for who knows that their owners are gone.
	FreeSources(ctx context.Context) error
	// ReleaseSource ends a claim before the lease is over.
	ReleaseSource(ctx context.Context, c Claim) error
	// DueNotices are those of a source that are due, the longest due first.
	DueNotices(ctx context.Context, source string, now time.Time, limit int) ([]Received, error)
	// NextNotice is when the next one is due; false is never.
	NextNotice(ctx context.Context) (time.Time, bool, error)
	// PutOffNotice says when to look again, and why. It is ErrFenced if the
	// claim is not the caller's any more.
	PutOffNotice(ctx context.Context, c Claim, r Received, until time.Time) error
	// EndNotice keeps the outcome, and the digest that was found out, and
	// writes events into the outbox. It is ErrFenced if the claim is not the
	// caller's any more.
	EndNotice(ctx context.Context, c Claim, r Received, events ...eventing.Event) error
	// LastPush is the digest that the latest confirmed push of a tag had
	// within the time that notices are kept; empty if there is none, or the
	// tag or the image was removed since.
	LastPush(ctx context.Context, source, repository, tag string) (digest string, err error)
}
