package steps

import (
	"errors"
	"fmt"
	"maps"
	"strings"
	"unicode"
	"unicode/utf8"

	"gopkg.in/yaml.v3"
)

// DefaultImageAliases are names for images that ACR's agents bring, usable as
// the first word of a cmd, and as $name anywhere.
var DefaultImageAliases = map[string]string{
	"acr":  "mcr.microsoft.com/acr/acr-cli:0.19",
	"az":   "mcr.microsoft.com/acr/azure-cli:2ff604c",
	"bash": "mcr.microsoft.com/acr/bash:2ff604c",
	"curl": "mcr.microsoft.com/acr/curl:2ff604c",
	"cssc": "mcr.microsoft.com/acr/cssc:2ff604c",
}

// aliases are the $names that every file with aliases has.
func (r RunValues) aliases() map[string]string {
	return map[string]string{
		"ID": r.ID, "SharedVolume": r.SharedVolume, "Registry": r.Registry, "RegistryName": r.RegistryName,
		"Date": r.Date, "OS": r.OS, "Architecture": r.Architecture, "Commit": r.Commit, "Branch": r.Branch,
	}
}

var (
	aliasStart = pattern(`^alias\s*:`)
	keyStart   = pattern(`^[^\s#][^:]*:`)
	aliasName  = pattern(`^[A-Za-z0-9]+$`)
)

// expandAliases takes the alias block out of the text and replaces $names in
// the rest. It also returns all names.
func (x *executor) expandAliases(text string) (string, map[string]string, error) {
	block, rest, first := splitAliasBlock(text)
	names := maps.Clone(DefaultImageAliases)
	maps.Copy(names, x.values.ImageAliases)
	for name, value := range x.values.Run.aliases() {
		names[name] = x.marks.putWord(value)
	}
	directive := '$'
	if block != "" {
		rendered, _, err := x.execute(block)
		if err != nil {
			return "", nil, lineMap{{1, first}}.place(err)
		}
		own, err := x.readAliases(rendered)
		if err != nil {
			return "", nil, lineMap{{1, first}}.place(prefix(err, ""))
		}
		maps.Copy(names, own.names)
		directive = own.directive
	}
	replaced, err := replaceAliases(rest, directive, names)
	return replaced, names, err
}

// splitAliasBlock separates the top-level alias key, which begins at the line
// first, from the rest, whose lines keep their numbers.
func splitAliasBlock(text string) (block, rest string, first int) {
	var b, r strings.Builder
	inside, n := false, 0
	for line := range strings.Lines(text) {
		n++
		switch {
		case aliasStart().MatchString(line):
			inside = true
			if first == 0 {
				first = n
			}
		case inside && keyStart().MatchString(line):
			inside = false
		}
		if inside {
			b.WriteString(line)
			r.WriteString("\n")
			continue
		}
		r.WriteString(line)
	}
	return b.String(), r.String(), first
}

// ownAliases are those of the file and of the sources that it names.
type ownAliases struct {
	names     map[string]string
	directive rune
}

// readAliases reads a rendered alias block. What the block says itself comes
// before what its sources say, and a later source before an earlier one.
func (x *executor) readAliases(block string) (*ownAliases, error) {
	file, err := decodeAliases(block)
	if err != nil {
		return nil, err
	}
	own := &ownAliases{names: map[string]string{}, directive: '$'}
	for _, src := range file.src {
		names, err := x.readAliasSource(x.marks.all(src.text))
		if err != nil {
			return nil, err
		}
		maps.Copy(own.names, names)
	}
	for _, v := range file.names {
		own.names[v.name.text] = v.value.text
	}
	for k := range own.names {
		if !aliasName().MatchString(k) {
			return nil, fmt.Errorf("alias key names only support alphanumeric characters: %q", k)
		}
	}
	if d := file.directive; d != "" {
		own.directive, _ = utf8.DecodeRuneInString(d)
		if utf8.RuneCountInString(d) != 1 {
			return nil, fmt.Errorf("$ directive can only be overwritten by a single character: %q", d)
		}
		if unicode.IsLetter(own.directive) || unicode.IsDigit(own.directive) {
			return nil, fmt.Errorf("overwritten directives may not be alphanumeric characters: %q", d)
		}
	}
	return own, nil
}

// rawAliases is the block as written.
type rawAliases struct {
	src       []item
	names     []pair
	directive string
}

// aliasKeys are the keys of the block, beside those of the task.
var (
	aliasBlockKeys = map[string]key[rawAliasFile]{
		"alias": {"mapping", func(d *decoder, f *rawAliasFile, n *yaml.Node) { object(d, "graph.Alias", aliasKeys, n, &f.alias) }},
	}
	aliasKeys = map[string]key[rawAliases]{
		"src":       texts(func(a *rawAliases) *[]item { return &a.src }),
		"values":    {"mapping of names to texts", func(d *decoder, a *rawAliases, n *yaml.Node) { a.names = d.pairs(n) }},
		"directive": text(func(a *rawAliases) *string { return &a.directive }),
	}
)

type rawAliasFile struct{ alias rawAliases }

// decodeAliases keeps marks as they are: what an alias stands for is put into
// text that is yet to be parsed.
func decodeAliases(text string) (*rawAliases, error) {
	d := &decoder{src: []byte(text)}
	file := &rawAliasFile{}
	if root := d.document(); root != nil {
		fields(d, "graph.Task", aliasBlockKeys, root, file)
	}
	if len(d.faults) > 0 {
		return nil, &placed{d.faults[0].Line, d.faults[0].Column, d.faults[0].Msg}
	}
	return &file.alias, nil
}

// readAliasSource gets a flat map of names from a file or URL.
func (x *executor) readAliasSource(src string) (map[string]string, error) {
	if x.values.Alias == nil {
		return nil, fmt.Errorf("alias src %s: there is nothing to read it from", src)
	}
	b, err := x.values.Alias(src)
	if err != nil {
		return nil, fmt.Errorf("alias src %s: %w", src, err)
	}
	if err := checkText(b); err != nil {
		return nil, fmt.Errorf("alias src %s: %w", src, err)
	}
	d := &decoder{file: src, src: b}
	names := map[string]string{}
	if root := d.document(); root != nil {
		for _, v := range d.pairs(root) {
			names[v.name.text] = v.value.text
		}
	}
	if len(d.faults) > 0 {
		return nil, fmt.Errorf("alias src %s: line %d: %s", src, d.faults[0].Line, d.faults[0].Msg)
	}
	return names, nil
}

var errAliasesTooLong = errors.New("the file is too long once its aliases are replaced")

// replaceAliases goes over the text once. After the directive comes the
// longest run of letters and digits; if that is no alias, everything stays,
// and so does the directive that ended it. Two directives are one.
func replaceAliases(text string, directive rune, names map[string]string) (string, error) {
	var b strings.Builder
	d := string(directive)
	for {
		before, after, found := strings.Cut(text, d)
		b.WriteString(before)
		if b.Len() > maxRendered {
			return "", errAliasesTooLong
		}
		if !found {
			return b.String(), nil
		}
		if rest, ok := strings.CutPrefix(after, d); ok {
			b.WriteString(d)
			text = rest
			continue
		}
		end := strings.IndexFunc(after, func(r rune) bool { return !isAlnum(r) })
		if end < 0 {
			end = len(after)
		}
		value, ok := names[after[:end]]
		switch {
		case ok:
			b.WriteString(value)
		default:
			b.WriteString(d + after[:end])
			if rest, again := strings.CutPrefix(after[end:], d); again && end > 0 {
				b.WriteString(d)
				after, end = rest, 0
			}
		}
		text = after[end:]
	}
}

func isAlnum(r rune) bool {
	return r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z'
}

// expandImageAlias replaces the first word of a cmd if it is an alias as a
// whole.
func expandImageAlias(cmd string, names map[string]string) string {
	cmd = strings.TrimLeft(cmd, " ")
	word, rest, _ := strings.Cut(cmd, " ")
	image, ok := names[word]
	if !ok {
		return cmd
	}
	return strings.TrimRight(image+" "+rest, " ")
}
