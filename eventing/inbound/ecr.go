package inbound

import (
	"net/http"
	"strings"
	"time"
)

// parseECR reads an event of EventBridge about an image of Amazon ECR, as an API
// destination passes it on. A tag that is gone may have left its image to
// others.
func parseECR(_ http.Header, body []byte) ([]Notice, error) {
	var e struct {
		ID      string    `json:"id"`
		Kind    string    `json:"detail-type"`
		Account string    `json:"account"`
		Region  string    `json:"region"`
		Time    time.Time `json:"time"`
		Detail  struct {
			Result     string `json:"result"`
			Action     string `json:"action-type"`
			Repository string `json:"repository-name"`
			Digest     string `json:"image-digest"`
			Tag        string `json:"image-tag"`
			MediaType  string `json:"manifest-media-type"`
		} `json:"detail"`
	}
	if err := decode(body, &e); err != nil {
		return nil, err
	}
	d := e.Detail
	action, ok := map[string]Action{"PUSH": Push, "DELETE": Delete}[d.Action]
	if e.Kind != "ECR Image Action" || d.Result != "SUCCESS" || !ok {
		return nil, nil
	}
	if action == Delete && d.Tag != "" {
		action = Untag
	}
	return []Notice{{
		ID: e.ID, Action: action, Host: ecrHost(e.Account, e.Region), Repository: d.Repository, Tag: d.Tag, Digest: d.Digest,
		MediaType: d.MediaType, Time: e.Time,
	}}, nil
}

func ecrHost(account, region string) string {
	host := account + ".dkr.ecr." + region + ".amazonaws.com"
	if strings.HasPrefix(region, "cn-") {
		host += ".cn"
	}
	return host
}
