package runner

import (
	"slices"
	"strings"

	"acrd/steps"
)

// Public is the request as anybody may read it: without secret values, of
// which the names stay, and without the files that came with it.
func (req Request) Public() Request {
	req.Inline, req.InlineValues = nil, nil
	req.Agents, req.SourceToken = nil, ""
	req.SecretValues = emptied(req.SecretValues)
	req.Secrets = emptied(req.Secrets)
	req.Source = publicSource(req.Source)
	req.Credentials = slices.Clone(req.Credentials)
	for i := range req.Credentials {
		req.Credentials[i].Password = ""
	}
	req.VaultCredentials = slices.Clone(req.VaultCredentials)
	for i := range req.VaultCredentials {
		c := &req.VaultCredentials[i]
		if !c.UserNameVault {
			c.UserName = ""
		}
		if !c.PasswordVault {
			c.Password = ""
		}
	}
	if req.Build != nil {
		build := *req.Build
		build.SecretArgs = slices.Clone(build.SecretArgs)
		for i, arg := range build.SecretArgs {
			build.SecretArgs[i], _, _ = strings.Cut(arg, "=")
		}
		req.Build = &build
	}
	return req
}

func emptied[V any](secrets map[string]V) map[string]V {
	if secrets == nil {
		return nil
	}
	names := make(map[string]V, len(secrets))
	for name := range secrets {
		var none V
		names[name] = none
	}
	return names
}

// publicSource blanks the credential that a URL may carry.
func publicSource(source string) string {
	if source == "" || strings.HasPrefix(source, UploadScheme) {
		return source
	}
	c, err := steps.ParseContext(source)
	if err != nil {
		return ""
	}
	return c.String()
}
