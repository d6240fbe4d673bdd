package inbound

import (
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"slices"
	"strings"
)

// parseQuay reads a notification of Quay about a push, which has neither id
// nor digest. There are no others of interest: of those, tags are missing.
func parseQuay(_ http.Header, body []byte) ([]Notice, error) {
	var hook struct {
		Repository string   `json:"repository"`
		DockerURL  string   `json:"docker_url"`
		Tags       quayTags `json:"updated_tags"`
	}
	if err := decode(body, &hook); err != nil {
		return nil, err
	}
	host, _, _ := strings.Cut(hook.DockerURL, "/")
	var all []Notice
	for _, tag := range hook.Tags {
		all = append(all, Notice{Action: Push, Host: host, Repository: hook.Repository, Tag: tag})
	}
	return all, nil
}

// quayTags are a list, and were once the keys of an object.
type quayTags []string

func (t *quayTags) UnmarshalJSON(b []byte) error {
	if json.Unmarshal(b, (*[]string)(t)) == nil {
		return nil
	}
	var old map[string]any
	if json.Unmarshal(b, &old) != nil {
		return errors.New("updated_tags are no tags")
	}
	*t = slices.Sorted(maps.Keys(old))
	return nil
}
