package inbound

import (
	"net/http"
	"strings"
	"time"
)

// distributionEnvelope is that of distribution's notifications, whose content
// type is events.v1 up to version 2, and events.v2 since.
type distributionEnvelope struct {
	Events []distributionEvent `json:"events"`
}

type distributionEvent struct {
	ID        string    `json:"id"`
	Timestamp time.Time `json:"timestamp"`
	Action    string    `json:"action"`
	Target    struct {
		MediaType  string `json:"mediaType"`
		Digest     string `json:"digest"`
		Size       int64  `json:"size"`
		Repository string `json:"repository"`
		Tag        string `json:"tag"`
	} `json:"target"`
	Request struct {
		Host string `json:"host"`
	} `json:"request"`
}

func parseDistribution(_ http.Header, body []byte) ([]Notice, error) {
	var envelope distributionEnvelope
	if err := decode(body, &envelope); err != nil {
		return nil, err
	}
	var all []Notice
	for _, e := range envelope.Events {
		n := Notice{
			ID: e.ID, Host: e.Request.Host, Repository: e.Target.Repository, Tag: e.Target.Tag,
			Digest: e.Target.Digest, MediaType: e.Target.MediaType, Size: e.Target.Size, Time: e.Timestamp,
		}
		switch {
		case e.Action == "push" && isManifest(e.Target.MediaType): // others are blobs
			n.Action = Push
		case e.Action == "delete" && e.Target.Tag != "":
			n.Action = Untag
		case e.Action == "delete":
			n.Action = Delete
		default:
			continue
		}
		all = append(all, n)
	}
	return all, nil
}

// isManifest tells manifests and indexes from blobs.
func isManifest(mediaType string) bool {
	for _, part := range []string{".manifest.", "image.index"} {
		if strings.Contains(mediaType, part) {
			return true
		}
	}
	return false
}
