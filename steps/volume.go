package steps

import (
	"encoding/base64"
	"path"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"
)

var (
	volumeName = pattern(`^[a-zA-Z0-9_-]+$`)
	fileName   = pattern(`^[a-zA-Z0-9_.-]+$`)
)

func readVolumeFiles(d *decoder, v *rawVolume, n *yaml.Node) {
	v.files, v.given = d.pairs(n), n.Kind == yaml.MappingNode
}

// pairs are the names and texts of a mapping, in their order; the last of
// several equal names counts.
func (d *decoder) pairs(n *yaml.Node) []pair {
	if n.Kind != yaml.MappingNode {
		if !d.isNull(n) {
			d.mismatch(n, "map[string]string")
		}
		return nil
	}
	var all []pair
	for _, m := range append(d.merged(n), n) {
		for i := 0; i+1 < len(m.Content); i += 2 {
			if k, value := m.Content[i], d.follow(m.Content[i+1]); !isMerge(k) {
				all = append(all, pair{item{d.text(k), k}, item{d.text(value), value}})
			}
		}
	}
	return all
}

func (p *parser) volumes() []Volume {
	var all []Volume
	seen := map[string]bool{}
	for _, v := range p.raw.volumes {
		switch {
		case v.spoilt:
		case v.name == "":
			p.fault(v.node, "volume name is empty")
		case !volumeName().MatchString(v.name):
			p.fault(p.find(v.node, "name"), "volume name is not well formed. Only use alphanumeric and - _")
		case seen[v.name]:
			p.fault(p.find(v.node, "name"), "volume with duplicate name found")
		case !v.given:
			p.fault(v.node, "currently only support for source type secret")
		case len(v.files) == 0:
			p.fault(p.find(v.node, "secret"), "secret is empty")
		default:
			all = append(all, p.volume(v))
		}
		seen[v.name] = true
	}
	return all
}

func (p *parser) volume(v *rawVolume) Volume {
	out := Volume{Name: v.name, Files: map[string][]byte{}}
	for _, f := range v.files {
		content, err := base64.StdEncoding.DecodeString(strings.TrimSpace(f.value.text))
		switch name := f.name.text; {
		case name == "":
			p.fault(f.name.node, "secret name provided for value is empty")
		case !fileName().MatchString(name) || name == "." || name == "..":
			p.fault(f.name.node, "file name, %s, is not well formed. Only use alphanumeric and - _ .", name)
		case err != nil:
			p.fault(f.value.node, "failed to decode Base64 value. please make sure value provided is Base64 encoded")
		}
		out.Files[f.name.text] = content
	}
	return out
}

// mounts judges the volumes that a step wants to see.
func (p *parser) mounts(s *rawStep) []VolumeMount {
	if len(s.volumeMounts) > 0 && len(s.push) > 0 {
		p.fault(p.find(s.node, "volumeMounts"), "invalid use of Mounts. Mounts must have unique container paths and only used for cmd or build steps")
		return nil
	}
	var all []VolumeMount
	for _, m := range s.volumeMounts {
		switch {
		case m.spoilt:
		case m.name == "" || m.path == "":
			p.fault(m.node, "mount name or mount path is empty")
		case slices.ContainsFunc(all, func(other VolumeMount) bool { return other.Path == m.path }):
			p.fault(p.find(m.node, "mountPath"), "mount with duplicate container file path found")
		case !slices.ContainsFunc(p.raw.volumes, func(v *rawVolume) bool { return v.name == m.name }):
			p.fault(p.find(m.node, "name"), "mount name, %s, does not correspond to a volume", m.name)
		case !path.IsAbs(m.path):
			p.fault(p.find(m.node, "mountPath"), "mount path %s is not absolute", m.path)
		default:
			all = append(all, VolumeMount{Name: m.name, Path: m.path})
		}
	}
	return all
}
