package steps

import (
	"cmp"
	"strings"
)

// notInTag are the characters that a tag may not have.
var notInTag = pattern(`[^A-Za-z0-9_.-]`)

// longestTag is what registries take.
const longestTag = 128

// cacheRef is where "cache: enabled" keeps what the step has built: in the
// repository of its image, under a tag that task and step share with nobody.
// Without a tag of its own the build has no such place, and no cache.
func (b *Build) cacheRef(s *Step, env *Env) string {
	if b.Cache != cacheEnabled || len(b.Options.Tags) == 0 {
		return ""
	}
	domain, path := splitTag(b.Options.Tags[0])
	for _, t := range b.Options.Tags {
		if d, p := splitTag(t); d != "" {
			domain, path = d, p
			break
		}
	}
	if domain = cmp.Or(domain, env.Registry); domain != "" {
		path = domain + "/" + path
	}
	tag := notInTag().ReplaceAllString("cache_"+cmp.Or(env.Task, "quickrun")+"_"+s.ID, "-")
	return path + ":" + tag[:min(len(tag), longestTag)]
}

// splitTag takes the name of an image apart as docker does: the registry, if
// it names one, and the path in it.
func splitTag(ref string) (domain, path string) {
	path, _, _ = strings.Cut(ref, "@")
	if at := strings.LastIndexByte(path, ':'); at > strings.LastIndexByte(path, '/') {
		path = path[:at]
	}
	first, rest, ok := strings.Cut(path, "/")
	if ok && (strings.ContainsAny(first, ".:") || first == "localhost") {
		return first, rest
	}
	return "", path
}
