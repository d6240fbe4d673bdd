package steps

import (
	"errors"
	"fmt"
	"maps"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"

	"gopkg.in/yaml.v3"
)

// runAliases are the $names that every file has.
func (r RunValues) aliases() map[string]string {
	return map[string]string{
		"ID": r.ID, "SharedVolume": r.SharedVolume, "Registry": r.Registry, "RegistryName": r.RegistryName,
		"Date": r.Date, "OS": r.OS, "Architecture": r.Architecture, "Commit": r.Commit, "Branch": r.Branch,
	}
}

// DefaultImageAliases are names for images that ACR's agents bring, usable as
// the first word of a cmd, and as $name anywhere.
var DefaultImageAliases = map[string]string{
	"acr":  "mcr.microsoft.com/acr/acr-cli:0.19",
	"az":   "mcr.microsoft.com/acr/azure-cli:2ff604c",
	"bash": "mcr.microsoft.com/acr/bash:2ff604c",
	"curl": "mcr.microsoft.com/acr/curl:2ff604c",
	"cssc": "mcr.microsoft.com/acr/cssc:2ff604c",
}

var (
	aliasStart = regexp.MustCompile(`^alias\s*:`)
	keyStart   = regexp.MustCompile(`^[^\s#][^:]*:`)
	aliasKey   = regexp.MustCompile(`^[A-Za-z0-9]+$`)
)

// expandAliases takes the alias block out of the text and replaces $names in
// the rest. It also returns all names.
func expandAliases(text string, v Values) (string, map[string]string, error) {
	block, rest := splitAliasBlock(text)
	names := map[string]string{}
	maps.Copy(names, DefaultImageAliases)
	maps.Copy(names, v.Run.aliases())
	directive := '$'
	if block != "" {
		rendered, err := execute("alias", block, v)
		if err != nil {
			return "", nil, err
		}
		own, d, err := readAliases(rendered)
		if err != nil {
			return "", nil, err
		}
		maps.Copy(names, own)
		directive = d
	}
	return replaceAliases(rest, directive, names), names, nil
}

// splitAliasBlock separates the top-level alias key from the rest, whose
// lines keep their numbers.
func splitAliasBlock(text string) (block, rest string) {
	var b, r strings.Builder
	inside := false
	for line := range strings.Lines(text) {
		switch {
		case aliasStart.MatchString(line):
			inside = true
		case inside && keyStart.MatchString(line):
			inside = false
		}
		if inside {
			b.WriteString(line)
			r.WriteString("\n")
			continue
		}
		r.WriteString(line)
	}
	return b.String(), r.String()
}

func readAliases(block string) (map[string]string, rune, error) {
	var file struct {
		Alias struct {
			Src       []string          `yaml:"src"`
			Values    map[string]string `yaml:"values"`
			Directive string            `yaml:"directive"`
		} `yaml:"alias"`
	}
	if err := yaml.Unmarshal([]byte(block), &file); err != nil {
		return nil, 0, err
	}
	if len(file.Alias.Src) > 0 {
		return nil, 0, errors.New("alias src is not supported yet: write the values here")
	}
	for k := range file.Alias.Values {
		if !aliasKey.MatchString(k) {
			return nil, 0, errors.New("alias key names only support alphanumeric characters")
		}
	}
	directive := '$'
	if d := file.Alias.Directive; d != "" {
		if utf8.RuneCountInString(d) != 1 {
			return nil, 0, fmt.Errorf("%s directive can only be overwritten by a single character", "$")
		}
		directive, _ = utf8.DecodeRuneInString(d)
		if unicode.IsLetter(directive) || unicode.IsDigit(directive) {
			return nil, 0, errors.New("overwritten directives may not be alphanumeric characters")
		}
	}
	return file.Alias.Values, directive, nil
}

// replaceAliases goes over the text once. After the directive comes the
// longest run of letters and digits; if that is no alias, everything stays,
// and so does the directive that ended it. Two directives are one.
func replaceAliases(text string, directive rune, names map[string]string) string {
	var b strings.Builder
	d := string(directive)
	for {
		before, after, found := strings.Cut(text, d)
		b.WriteString(before)
		if !found {
			return b.String()
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
