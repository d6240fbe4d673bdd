package inbound

import "net/http"

// parseJFrog reads a hook of Artifactory about a Docker repository. Images are
// named by its "repository path" method: HOST/KEY/IMAGE.
func parseJFrog(_ http.Header, body []byte) ([]Notice, error) {
	var hook struct {
		Domain    string `json:"domain"`
		EventType string `json:"event_type"`
		Data      struct {
			RepoKey   string `json:"repo_key"`
			ImageName string `json:"image_name"`
			Tag       string `json:"tag"`
			SHA256    string `json:"sha256"`
			Size      int64  `json:"size"`
		} `json:"data"`
		Origin string `json:"jpd_origin"`
	}
	if err := decode(body, &hook); err != nil {
		return nil, err
	}
	// A tag of Artifactory is a folder: its end is not that of the manifest,
	// which other tags may have too.
	action, ok := map[string]Action{"pushed": Push, "promoted": Push, "deleted": Untag}[hook.EventType]
	if hook.Domain != "docker" || !ok {
		return nil, nil
	}
	n := Notice{Action: action, Host: hostOf(hook.Origin), Repository: hook.Data.ImageName, Tag: hook.Data.Tag, Size: hook.Data.Size}
	if hook.Data.RepoKey != "" {
		n.Repository = hook.Data.RepoKey + "/" + hook.Data.ImageName
	}
	if digest := "sha256:" + hook.Data.SHA256; isDigest(digest) {
		n.Digest = digest
	}
	return []Notice{n}, nil
}
