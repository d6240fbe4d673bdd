package inbound

import (
	"encoding/json"
	"net/http"
	"strings"
)

func parseZot(h http.Header, body []byte) ([]Notice, error) { return parseCloudEvents(h, body) }

// zot reads an event of zot. It deletes tags and images under one type: which
// it was, the reference says.
func (e *cloudEvent) zot() ([]Notice, error) {
	verb := e.Type[strings.IndexByte(e.Type, '.')+1:]
	if verb != "image.updated" && verb != "image.deleted" {
		return nil, nil
	}
	var data struct {
		Name      string `json:"name"`
		Reference string `json:"reference"`
		Digest    string `json:"digest"`
		MediaType string `json:"mediaType"`
		Manifest  string `json:"manifest"`
		Request   struct {
			Host string `json:"host"`
		} `json:"request"`
	}
	if err := decode(e.Data, &data); err != nil {
		return nil, err
	}
	n := Notice{
		ID: e.ID, Action: Push, Host: data.Request.Host, Repository: data.Name, Digest: data.Digest,
		MediaType: data.MediaType, Size: int64(len(data.Manifest)), Time: e.Time,
	}
	byDigest := isDigest(data.Reference)
	if byDigest {
		n.Digest = data.Reference
	} else {
		n.Tag = data.Reference
	}
	switch {
	case verb == "image.deleted" && byDigest:
		n.Action = Delete
	case verb == "image.deleted":
		n.Action = Untag
	case isChart(data.Manifest):
		n.Chart = &Chart{}
	}
	return []Notice{n}, nil
}

// helmConfig is the media type of the config of a chart.
const helmConfig = "application/vnd.cncf.helm.config.v1+json"

func isChart(manifest string) bool {
	var m struct {
		Config struct {
			MediaType string `json:"mediaType"`
		} `json:"config"`
	}
	return json.Unmarshal([]byte(manifest), &m) == nil && m.Config.MediaType == helmConfig
}
