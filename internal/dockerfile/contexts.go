package dockerfile

import (
	"fmt"
	"strings"

	"github.com/distribution/reference"
)

// namedContexts reads NAME=VALUE. Only an image is something to depend on; the
// others have the empty string.
func namedContexts(list []string) (map[string]string, error) {
	contexts := map[string]string{}
	for _, spec := range list {
		name, value, ok := strings.Cut(spec, "=")
		if !ok || name == "" || value == "" {
			return nil, fmt.Errorf("build context %q: want NAME=VALUE", spec)
		}
		image, isImage := strings.CutPrefix(value, "docker-image://")
		if !isImage || image == scratch {
			image = ""
		}
		if image != "" {
			if _, err := reference.ParseNormalizedNamed(image); err != nil {
				return nil, fmt.Errorf("build context %s: %q: %w", name, image, err)
			}
		}
		contexts[familiar(name)] = image
	}
	return contexts, nil
}

// context is what stands for a stage or image of that name, if anything does.
func (f *file) context(name string) (image string, ok bool) {
	if len(f.contexts) == 0 || strings.EqualFold(name, scratch) || strings.EqualFold(name, "context") {
		return "", false
	}
	image, ok = f.contexts[familiar(name)]
	return image, ok
}

// familiar is the one short name that a reference has: alpine for
// docker.io/library/alpine:latest.
func familiar(ref string) string {
	named, err := reference.ParseNormalizedNamed(ref)
	if err != nil {
		return ref
	}
	return strings.TrimSuffix(reference.FamiliarString(named), ":latest")
}
