package steps

import (
	"fmt"
	"path"
	"slices"
	"strings"
	"unicode/utf8"

	"gopkg.in/yaml.v3"
)

// action finds out what the step does.
func (p *parser) action(s *rawStep, out *Step) {
	kinds := 0
	for _, given := range []bool{s.cmd != "", s.build != "", len(s.push) > 0} {
		if given {
			kinds++
		}
	}
	switch {
	case kinds > 1:
		p.fault(s.node, "step must only contain a single build, cmd, or push property")
	case kinds == 0 && !s.spoilt:
		p.fault(s.node, "step is missing a cmd, build, or push property")
	case s.build != "":
		p.build(s, out)
	case s.cmd != "":
		p.cmd(s, out)
	case len(s.push) > 0:
		p.push(s, out)
	}
}

func (p *parser) push(s *rawStep, out *Step) {
	for _, ref := range s.push {
		if err := checkReferences([]string{ref.text}); err != nil {
			p.fault(ref.node, "push: %s", err)
		}
	}
	out.Do = NewPush(plain(s.push))
	out.Retries, out.Repeat = 0, 0 // a push has its own attempts, as in acb
}

func (p *parser) build(s *rawStep, out *Step) {
	b, err := parseBuild(s.build, p.marks)
	if err != nil {
		p.lineFaults(s.node, "build", s.build, 0, err)
		return
	}
	b.Cache = strings.ToLower(s.cache)
	if out.Network == "" {
		out.Network = b.Options.Network
	}
	out.Do = b
}

func (p *parser) cmd(s *rawStep, out *Step) {
	line := expandImageAlias(s.cmd, p.options.ImageAliases)
	do, err := parseCmd(line, p.marks)
	if err != nil {
		p.lineFaults(s.node, "cmd", s.cmd, len(s.cmd)-len(line), err)
		return
	}
	out.Do = do
	switch do := do.(type) {
	case *Build: // docker build ...
		do.Line, do.Cache = p.marks.all(s.cmd), strings.ToLower(s.cache)
		if out.Network == "" {
			out.Network = do.Options.Network
		}
	case *Cmd:
		do.Line = p.marks.all(s.cmd)
		if err := out.take(&do.Flags); err != nil {
			p.lineFaults(s.node, "cmd", s.cmd, 0, err)
		}
		p.cpus(s, &do.Flags)
	}
}

// cpus is the property, unless a flag has said it already.
func (p *parser) cpus(s *rawStep, f *CmdFlags) {
	if s.cpus == "" || f.CPUs != 0 {
		return
	}
	var err error
	if f.CPUs, err = parseCPUs(s.cpus); err != nil {
		p.fault(p.find(s.node, "cpus"), "cpus: %s", err)
	}
}

// lineFaults notes each of the errors that a command line has, at the word it
// is about if that is known. The line that was read begins shift bytes before
// or after the one in the file.
func (p *parser) lineFaults(step *yaml.Node, key, line string, shift int, err error) {
	for _, fault := range lineFaults(err) {
		n := p.find(step, key)
		atLine, column := n.Line, n.Column
		if fault.Offset >= 0 {
			atLine, column = p.within(n, line, max(0, fault.Offset+shift))
		}
		p.faultAt(atLine, column, "%s: %s", key, fault.Msg)
	}
}

// within is where in the file a byte of a scalar's value is, as far as that
// can be told: in a plain or quoted scalar of one line, or in a literal block.
func (p *parser) within(n *yaml.Node, value string, offset int) (line, column int) {
	offset = min(offset, len(value))
	switch {
	case value != n.Value: // marks have become texts
	case n.Style&yaml.LiteralStyle != 0:
		before := value[:offset]
		row := strings.Count(before, "\n")
		text := value[strings.LastIndexByte(before, '\n')+1:]
		text, _, _ = strings.Cut(text, "\n")
		source := sourceLine(p.src, n.Line+1+row)
		if indent := len(source) - len(text); indent >= 0 && source[indent:] == text {
			return n.Line + 1 + row, 1 + indent + utf8.RuneCountInString(before[strings.LastIndexByte(before, '\n')+1:])
		}
	default:
		_, rest := splitAt(sourceLine(p.src, n.Line), n.Column)
		for quote := range 2 {
			if len(rest) > quote && strings.HasPrefix(rest[quote:], value) {
				return n.Line, n.Column + quote + utf8.RuneCountInString(value[:offset])
			}
		}
	}
	return n.Line, n.Column
}

// take moves flags of docker run into the properties that mean the same. The
// flag wins: on acb's command line it came last.
func (s *Step) take(f *CmdFlags) error {
	set := func(into *string, v string) {
		if v != "" {
			*into = v
		}
	}
	set(&s.User, f.User)
	set(&s.Network, f.Network)
	set(&s.EntryPoint, f.EntryPoint)
	set(&s.WorkingDirectory, f.WorkDir)
	s.Privileged = s.Privileged || f.Privileged
	s.Detach = s.Detach || f.Detach
	s.Pull = s.Pull || f.Pull
	s.Ports = append(s.Ports, f.Ports...)
	return f.hostMounts()
}

// hostMounts are -v: a folder of the host needs the owner's leave, which the
// runner asks for.
func (f *CmdFlags) hostMounts() error {
	for _, v := range f.Volumes {
		parts := strings.Split(v, ":")
		m := HostMount{Source: parts[0]}
		switch {
		case len(parts) == 2 || len(parts) == 3:
			m.Target = parts[1]
			m.ReadOnly = len(parts) == 3 && slices.Contains(strings.Split(parts[2], ","), "ro")
		default:
			return fmt.Errorf("-v %s: want SOURCE:TARGET[:ro]", v)
		}
		if !path.IsAbs(m.Target) {
			return fmt.Errorf("-v %s: the target is not absolute", v)
		}
		f.HostMounts = append(f.HostMounts, m)
	}
	return nil
}

// plain are the texts of items, and nil if there are none.
func plain(items []item) []string {
	if len(items) == 0 {
		return nil
	}
	all := make([]string, len(items))
	for i := range items {
		all[i] = items[i].text
	}
	return all
}
