package inbound

import "net/http"

// parseDockerHub reads a hook of Docker Hub, which has no id, no digest and no
// signature, and tells of pushes alone.
func parseDockerHub(_ http.Header, body []byte) ([]Notice, error) {
	var hook struct {
		Push struct {
			Tag      string  `json:"tag"`
			PushedAt seconds `json:"pushed_at"`
		} `json:"push_data"`
		Repository struct {
			Name string `json:"repo_name"`
		} `json:"repository"`
	}
	if err := decode(body, &hook); err != nil {
		return nil, err
	}
	return []Notice{{Action: Push, Host: DockerHub.Registry(), Repository: hook.Repository.Name, Tag: hook.Push.Tag, Time: hook.Push.PushedAt.time()}}, nil
}
