package steps

import "gopkg.in/yaml.v3"

type linter struct{ *decoder }

func (l *linter) warn(rule string, n *yaml.Node, format string, args ...any)        {}
func lintKeys[T any](l *linter, name string, known map[string]key[T], n *yaml.Node) {}
func (p *parser) strict(f *File)                                                    {}
