package steps

import (
	"errors"
	"path"
	"slices"
)

var guid = pattern(`^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$`)

// secrets are those that the file declares.
func (p *parser) secrets() []Secret {
	var all []Secret
	seen := map[string]bool{}
	for _, s := range p.raw.secrets {
		if s.spoilt {
			continue
		}
		if err := s.check(); err != nil {
			p.fault(s.node, "failed to validate secret with ID: %s: %s", s.id, err)
			continue
		}
		if seen[s.id] {
			p.fault(p.find(s.node, "id"), "duplicate secret found with ID: %s", s.id)
		}
		seen[s.id] = true
		all = append(all, Secret{ID: s.id, KeyVault: s.keyVault, ClientID: s.clientID})
	}
	return all
}

func (s *rawSecret) check() error {
	switch {
	case s.id == "":
		return errors.New("secret is missing an ID as well as auto-generated ID")
	case hasSpace(s.id):
		return errors.New("secret ID cannot contain spaces")
	case s.keyVault == "":
		return errors.New("secret should contain either keyvault property for vault secret, or msi clientID/aadResourceId for msi authentication")
	case s.clientID != "" && !guid().MatchString(s.clientID):
		return errors.New("msi client ID is not a valid guid")
	}
	return nil
}

// A StepSecret hands a secret to a step, as a variable or as a file in memory.
type StepSecret struct {
	ID string
	// Env is the variable's name, File the file's absolute path. One of them
	// is empty.
	Env, File string
}

var variableName = pattern(`^[A-Za-z_][A-Za-z0-9_]*$`)

// stepSecrets judges the "secrets" of a step.
func (p *parser) stepSecrets(s *rawStep) []StepSecret {
	if len(s.secrets) > 0 && s.cmd == "" {
		p.fault(p.find(s.node, "secrets"), "secrets of a step are for cmd: a build takes one with --secret id=ID")
		return nil
	}
	var all []StepSecret
	for _, raw := range s.secrets {
		if raw.spoilt {
			continue
		}
		one := StepSecret{ID: raw.id, Env: raw.env, File: raw.file}
		if raw.name != "" && raw.id == "" {
			one.ID = raw.name
		}
		if msg := one.check(); msg != "" {
			p.fault(raw.node, "%s", msg)
			continue
		}
		if !p.declared(one.ID) {
			p.fault(raw.node, "secret %s is neither in the task's secrets nor given with the run (--set-secret %s=...)", one.ID, one.ID)
		}
		if slices.ContainsFunc(all, one.collides) {
			p.fault(raw.node, "two secrets go to one place: %s", one.Env+one.File)
		}
		all = append(all, one)
	}
	return all
}

func (s StepSecret) collides(other StepSecret) bool {
	return s.Env == other.Env && s.File == other.File
}

func (s StepSecret) check() string {
	switch {
	case s.ID == "":
		return "a secret of a step needs an id"
	case (s.Env == "") == (s.File == ""):
		return "a secret of a step needs either env, the name of a variable, or file, an absolute path"
	case s.Env != "" && !variableName().MatchString(s.Env):
		return "env is not the name of a variable: letters, digits and _"
	case s.File != "" && (!path.IsAbs(s.File) || path.Clean(s.File) != s.File || s.File == "/"):
		return "file is not a clean absolute path, such as /run/secrets/token"
	}
	return ""
}

// declared says whether there is, or may be, a secret with this id.
func (p *parser) declared(id string) bool {
	return p.options.Secrets == nil || slices.Contains(p.options.Secrets, id) ||
		slices.ContainsFunc(p.raw.secrets, func(s *rawSecret) bool { return s.id == id })
}
