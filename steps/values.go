package steps

// ParseValues reads a values file: a mapping of names to anything. What is
// wrong is an Errors.
func ParseValues(name string, src []byte) (map[string]any, error) {
	d := &decoder{file: name, src: src}
	all := map[string]any{}
	root := d.document()
	if root == nil {
		return all, d.err()
	}
	if err := root.Decode(&all); err != nil {
		d.fault(root, "%s", err)
	}
	return all, d.err()
}
