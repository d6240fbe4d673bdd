package steps

import (
	"fmt"
	"strings"
)

// The grammar of image references, from the OCI distribution spec and docker's
// own: [registry/]path[:tag][@digest].
var (
	imageHost = pattern(`^(?:[a-zA-Z0-9](?:[a-zA-Z0-9.-]*[a-zA-Z0-9])?|\[[0-9a-fA-F:]+\])(?::[0-9]+)?$`)
	imagePath = pattern(`^[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*$`)
	imageTag  = pattern(`^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$`)
	imageHash = pattern(`^[a-z0-9]+(?:[+._-][a-z0-9]+)*:[0-9a-fA-F]+$`) // acb leaves its length to the registry
)

// checkReference refuses what no registry would take, in docker's words.
func checkReference(ref string) error {
	name, hash, pinned := strings.Cut(ref, "@")
	host, path := splitTag(name)
	tag, tagged := "", false
	if rest := strings.TrimPrefix(strings.TrimPrefix(name, host), "/"); len(rest) > len(path) {
		tag, tagged = rest[len(path)+1:], true
	}
	switch {
	case path != strings.ToLower(path):
		return fmt.Errorf("invalid reference format: repository name (%s) must be lowercase", brief(path))
	case host != "" && !imageHost().MatchString(host), !imagePath().MatchString(path),
		tagged && !imageTag().MatchString(tag), pinned && !imageHash().MatchString(hash):
		return fmt.Errorf("invalid reference format: %q is not [REGISTRY/]NAME[:TAG]", brief(ref))
	}
	return nil
}

// checkReferences judges those of a file. What is not settled may stand for
// anything; the build finds out.
func checkReferences(refs []string) error {
	for _, r := range refs {
		if unsettled(r) {
			continue
		}
		if err := checkReference(r); err != nil {
			return err
		}
	}
	return nil
}
