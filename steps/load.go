package steps

import "bytes"

// Load renders and parses a task file. A file that is wrong is an Errors, with
// every fault at its place in src.
func Load(name string, src []byte, v Values, o Options) (*File, error) {
	r, err := Render(name, src, v)
	if err != nil {
		return nil, err
	}
	f, err := r.Parse(name, o)
	if err != nil {
		return nil, err
	}
	return f, nil
}

// Parse reads the rendered file, see Load.
func (r *Rendered) Parse(name string, o Options) (*File, error) {
	o.ImageAliases, o.marks = r.aliases, r.marks
	f, err := Parse(name, r.text, o)
	if err != nil {
		return nil, r.locate(err)
	}
	return f, nil
}

// LintFile renders a task file and returns what Lint says of it, with places in
// src, beside the error that Load would return.
func LintFile(name string, src []byte, v Values, o Options) ([]Warning, error) {
	r, err := Render(name, src, v)
	if err != nil {
		return nil, err
	}
	_, err = r.Parse(name, o)
	return r.Lint(name, o), err
}

// DeclaredSecrets are the secrets that a file asks for. Whatever else is wrong
// with it is not told: their values may be what it lacks.
func DeclaredSecrets(name string, src []byte, v Values) ([]Secret, error) {
	if !bytes.Contains(bytes.ToLower(src), []byte("secrets")) {
		return nil, nil
	}
	r, err := Render(name, src, v)
	if err != nil {
		return nil, err
	}
	p := newParser(name, r.text, Options{marks: r.marks})
	root := p.document()
	if root == nil {
		return nil, r.locate(p.err())
	}
	p.raw.put(root, false)
	fields(p.decoder, "graph.Task", taskKeys, root, &p.raw)
	p.faults = nil
	secrets := p.secrets()
	return secrets, r.locate(p.err())
}
