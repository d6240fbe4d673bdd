package steps

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
