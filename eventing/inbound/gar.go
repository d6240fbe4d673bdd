package inbound

import (
	"errors"
	"net/http"
	"strings"
	"time"
)

// parseGAR reads a message of the topic gcr, to which Google's Artifact Registry
// publishes, as Pub/Sub pushes it.
func parseGAR(_ http.Header, body []byte) ([]Notice, error) {
	var push struct {
		Message struct {
			ID   string    `json:"messageId"`
			Time time.Time `json:"publishTime"`
			Data []byte    `json:"data"` // in base64
		} `json:"message"`
	}
	if err := decode(body, &push); err != nil {
		return nil, err
	}
	var said struct {
		Action string `json:"action"`
		Digest string `json:"digest"` // HOST/REPOSITORY@DIGEST
		Tag    string `json:"tag"`    // HOST/REPOSITORY:TAG
	}
	if err := decode(push.Message.Data, &said); err != nil {
		return nil, err
	}
	n := Notice{ID: push.Message.ID, Time: push.Message.Time}
	var place, tagged string
	place, n.Digest, _ = strings.Cut(said.Digest, "@")
	if i := strings.LastIndexByte(said.Tag, ':'); i > strings.LastIndexByte(said.Tag, '/') {
		tagged, n.Tag = said.Tag[:i], said.Tag[i+1:]
	}
	if place == "" {
		place = tagged
	}
	if tagged != "" && tagged != place {
		return nil, errors.New("its tag and its digest are of two images")
	}
	n.Host, n.Repository, _ = strings.Cut(place, "/")
	switch {
	case said.Action == "INSERT":
		n.Action = Push
	case said.Action == "DELETE" && n.Tag != "":
		n.Action = Untag
	case said.Action == "DELETE":
		n.Action = Delete
	default:
		return nil, nil
	}
	return []Notice{n}, nil
}
