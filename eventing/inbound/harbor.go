package inbound

import (
	"encoding/json"
	"fmt"
	"mime"
	"net/http"
	"strings"
	"time"
)

// harborData is what Harbor's two formats have in common.
type harborData struct {
	Resources []struct {
		Digest      string `json:"digest"`
		Tag         string `json:"tag"`
		ResourceURL string `json:"resource_url"`
	} `json:"resources"`
	Repository struct {
		FullName string `json:"repo_full_name"`
	} `json:"repository"`
}

// parseHarbor reads both of Harbor's formats.
func parseHarbor(h http.Header, body []byte) ([]Notice, error) {
	media, _, _ := mime.ParseMediaType(h.Get("Content-Type")) // then it is the other
	if strings.HasPrefix(media, "application/cloudevents") || isCloudEvent(body) {
		return parseCloudEvents(h, body)
	}
	var hook struct {
		Type     string     `json:"type"`
		OccurAt  seconds    `json:"occur_at"`
		Data     harborData `json:"event_data"`
		Operator string     `json:"operator"`
	}
	if err := decode(body, &hook); err != nil {
		return nil, err
	}
	action, ok := map[string]Action{"PUSH_ARTIFACT": Push, "DELETE_ARTIFACT": Delete}[hook.Type]
	if !ok {
		return nil, nil
	}
	return hook.Data.notices("", action, hook.OccurAt.time()), nil
}

// isCloudEvent is for Harbor, which has sent its events as application/json.
func isCloudEvent(body []byte) bool {
	var e struct {
		SpecVersion string `json:"specversion"`
	}
	return json.Unmarshal(body, &e) == nil && e.SpecVersion != ""
}

func (e *cloudEvent) harbor() ([]Notice, error) {
	action, ok := map[string]Action{"harbor.artifact.pushed": Push, "harbor.artifact.deleted": Delete}[e.Type]
	if !ok {
		return nil, nil
	}
	var data harborData
	if err := decode(e.Data, &data); err != nil {
		return nil, err
	}
	return data.notices(e.ID, action, e.Time), nil
}

func (d *harborData) notices(id string, action Action, at time.Time) []Notice {
	var all []Notice
	for i, r := range d.Resources {
		host, _, _ := strings.Cut(r.ResourceURL, "/")
		n := Notice{ID: id, Action: action, Host: host, Repository: d.Repository.FullName, Digest: r.Digest, Time: at}
		if !strings.HasPrefix(r.Tag, "sha256:") { // which Harbor says for none
			n.Tag = r.Tag
		}
		if id != "" && i > 0 {
			n.ID = fmt.Sprintf("%s/%d", id, i)
		}
		all = append(all, n)
	}
	return all
}
