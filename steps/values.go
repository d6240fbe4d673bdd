package steps

import "gopkg.in/yaml.v3"

// ParseValues reads a values file: a mapping of names to anything. What is
// wrong is an Errors.
func ParseValues(name string, src []byte) (map[string]any, error) {
	d := newDecoder(name, src)
	root := d.root(src)
	all := map[string]any{}
	if root == nil {
		return all, d.err()
	}
	if err := (&yaml.Node{Kind: yaml.DocumentNode, Content: []*yaml.Node{root}}).Decode(&all); err != nil {
		d.fault(root, "%s", err)
	}
	return all, d.err()
}
