package inbound

import (
	"net/http"
	"strings"
	"time"
)

// githubPackage is what the events package and registry_package have alike.
type githubPackage struct {
	Name        string `json:"name"`
	PackageType string `json:"package_type"`
	Owner       struct {
		Login string `json:"login"`
	} `json:"owner"`
	Version struct {
		Version   string    `json:"version"`
		UpdatedAt time.Time `json:"updated_at"`
		Container struct {
			Tag struct {
				Name   string `json:"name"`
				Digest string `json:"digest"`
			} `json:"tag"`
		} `json:"container_metadata"`
	} `json:"package_version"`
}

// parseGHCR reads a hook of GitHub about a container. GitHub tells of pushes
// alone.
func parseGHCR(h http.Header, body []byte) ([]Notice, error) {
	event := h.Get("X-Github-Event")
	if event != "package" && event != "registry_package" {
		return nil, nil
	}
	var hook struct {
		Action          string         `json:"action"`
		Package         *githubPackage `json:"package"`
		RegistryPackage *githubPackage `json:"registry_package"`
	}
	if err := decode(body, &hook); err != nil {
		return nil, err
	}
	p := hook.Package
	if event == "registry_package" {
		p = hook.RegistryPackage
	}
	if p == nil || !strings.EqualFold(p.PackageType, "container") || hook.Action != "published" && hook.Action != "updated" {
		return nil, nil
	}
	tag := p.Version.Container.Tag
	n := Notice{
		ID: h.Get("X-Github-Delivery"), Action: Push, Host: GHCR.Registry(), Tag: tag.Name, Digest: tag.Digest, Time: p.Version.UpdatedAt,
		Repository: strings.ToLower(p.Owner.Login + "/" + p.Name),
	}
	if n.Digest == "" && isDigest(p.Version.Version) {
		n.Digest = p.Version.Version
	}
	return []Notice{n}, nil
}
