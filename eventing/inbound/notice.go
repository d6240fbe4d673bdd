// Package inbound takes in what other registries say about themselves.
//
//	registry --hook--> Receiver --> Queue --> Verifier --> base-image triggers
//	                                              |
//	                                              +------> outbox, if wanted
//
// A [Source] is a registry that may speak: it has a secret address, and a kind
// that says how it speaks. What it says is parsed to [Notice]s, which are on
// the disk before it is answered. A notice is a hint and no more: the registry
// itself is asked whether it is so before anything follows.
//
// The parsers, one file for each kind, are pure functions.
package inbound

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"
)

// An Action is what has happened to an image.
type Action string

// The actions. To untag is to remove a tag and leave the image.
const (
	Push   Action = "push"
	Delete Action = "delete"
	Untag  Action = "untag"
)

// A Notice is what a registry says has happened.
type Notice struct {
	// ID is the registry's own id of the event; empty if it has none, and then
	// equal notices are told apart.
	ID     string
	Action Action
	// Host is the registry as it calls itself, if it does.
	Host       string `json:",omitempty"`
	Repository string
	// Tag and Digest are what is known of the image: at least one.
	Tag       string `json:",omitempty"`
	Digest    string `json:",omitempty"`
	MediaType string `json:",omitempty"`
	Size      int64  `json:",omitempty"`
	// Chart is set if the registry says that it is one.
	Chart *Chart    `json:",omitempty"`
	Time  time.Time `json:",omitzero"`
}

// A Chart is what Helm calls one. Digest and Size are those of its package, and
// may be unknown.
type Chart struct {
	Name, Version string
	Digest        string `json:",omitempty"`
	Size          int64  `json:",omitempty"`
}

// Ref is how the image is named within its registry.
func (n *Notice) Ref() string {
	if n.Tag != "" {
		return n.Repository + ":" + n.Tag
	}
	return n.Repository + "@" + n.Digest
}

// A Kind says how a registry speaks.
type Kind string

// The kinds. CloudEvents is for everything that has no kind of its own.
const (
	Distribution Kind = "distribution"
	GitLab       Kind = "gitlab"
	Harbor       Kind = "harbor"
	Zot          Kind = "zot"
	DockerHub    Kind = "dockerhub"
	GHCR         Kind = "ghcr"
	Quay         Kind = "quay"
	Gitea        Kind = "gitea"
	Forgejo      Kind = "forgejo"
	JFrog        Kind = "jfrog"
	ECR          Kind = "ecr"
	GAR          Kind = "gar"
	ACR          Kind = "acr"
	EventGrid    Kind = "eventgrid"
	Acrd         Kind = "acrd"
	CloudEvents  Kind = "cloudevents"
)

// Kinds lists all of them.
var Kinds = []Kind{Distribution, GitLab, Harbor, Zot, DockerHub, GHCR, Quay, Gitea, Forgejo, JFrog, ECR, GAR, ACR, EventGrid, Acrd, CloudEvents}

// Registry is the host of those kinds that there is one of.
func (k Kind) Registry() string {
	switch k {
	case DockerHub:
		return "docker.io"
	case GHCR:
		return "ghcr.io"
	case Quay:
		return "quay.io"
	}
	return ""
}

// handshakes says that the sender asks before it sends.
func (k Kind) handshakes() bool {
	return slices.Contains([]Kind{EventGrid, Acrd, CloudEvents}, k)
}

// keepsID says that ids of events are unique everywhere, so that they are kept
// when an event is passed on: what comes back in a circle is known again.
func (k Kind) keepsID() bool {
	return slices.Contains([]Kind{ACR, EventGrid, Acrd, CloudEvents}, k)
}

// Parse reads a hook. What is of no interest is not in the result, which may be
// empty.
func Parse(kind Kind, h http.Header, body []byte) ([]Notice, error) {
	parse, ok := map[Kind]func(http.Header, []byte) ([]Notice, error){
		Distribution: parseDistribution,
		GitLab:       parseDistribution,
		Harbor:       parseHarbor,
		Zot:          parseZot,
		DockerHub:    parseDockerHub,
		GHCR:         parseGHCR,
		Quay:         parseQuay,
		Gitea:        parseGitea,
		Forgejo:      parseGitea,
		JFrog:        parseJFrog,
		ECR:          parseECR,
		GAR:          parseGAR,
		ACR:          parseACR,
		EventGrid:    parseEventGrid,
		Acrd:         parseEventGrid,
		CloudEvents:  parseCloudEvents,
	}[kind]
	if !ok {
		return nil, fmt.Errorf("kind %q is none of %v", kind, Kinds)
	}
	found, err := parse(h, body)
	if err != nil {
		return nil, err
	}
	notices := found[:0]
	for i, n := range found {
		if n.Tag == "" && (n.Action != Delete || n.Digest == "") {
			continue // a part of another image, or a repository that is gone
		}
		if err := n.check(); err != nil {
			return nil, fmt.Errorf("event %d: %w", i, err)
		}
		notices = append(notices, n)
	}
	return notices, nil
}

// check refuses what can name no image.
func (n *Notice) check() error {
	switch {
	case !isRepository(n.Repository):
		return errors.New("the repository is none")
	case n.Tag != "" && !isTag(n.Tag):
		return errors.New("the tag is none")
	case n.Digest != "" && !isDigest(n.Digest):
		return errors.New("the digest is none")
	}
	return nil
}

func isRepository(s string) bool {
	if s == "" || len(s) > 255 {
		return false
	}
	for part := range strings.SplitSeq(s, "/") {
		if part == "" || !isAlphanumeric(part[0]) || !isAlphanumeric(part[len(part)-1]) || strings.Contains(part, "..") {
			return false
		}
		if !madeOf(part, "abcdefghijklmnopqrstuvwxyz0123456789._-") {
			return false
		}
	}
	return true
}

func isAlphanumeric(c byte) bool { return c >= 'a' && c <= 'z' || c >= '0' && c <= '9' }

func isTag(s string) bool {
	if len(s) > 128 || s[0] == '.' || s[0] == '-' {
		return false
	}
	return madeOf(strings.ToLower(s), "abcdefghijklmnopqrstuvwxyz0123456789._-")
}

func isDigest(s string) bool {
	algorithm, hex, ok := strings.Cut(s, ":")
	length := map[string]int{"sha256": 64, "sha512": 128}[algorithm]
	return ok && length != 0 && len(hex) == length && madeOf(hex, "0123456789abcdef")
}

func madeOf(s, chars string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return !strings.ContainsRune(chars, r) })
}
