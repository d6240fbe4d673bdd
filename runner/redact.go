package runner

import (
	"strings"

	"acrd/runner/mask"
)

// secretTexts are the values that must not be seen.
func (req *Request) secretTexts() []string {
	all := []string{req.SourceToken}
	for _, v := range req.SecretValues {
		all = append(all, v)
	}
	for _, c := range req.Credentials {
		all = append(all, c.Password)
	}
	for _, c := range req.VaultCredentials {
		if !c.PasswordVault {
			all = append(all, c.Password)
		}
	}
	for _, v := range req.Secrets {
		all = append(all, string(v))
	}
	if req.Build != nil {
		for _, a := range req.Build.SecretArgs {
			_, v, _ := strings.Cut(a, "=")
			all = append(all, v)
		}
	}
	return all
}

// tooShort counts the values that are too short to be hidden.
func tooShort(secrets []string) int {
	n := 0
	for _, s := range secrets {
		if trimmed := strings.TrimSpace(s); trimmed != "" && len(trimmed) < mask.Shortest {
			n++
		}
	}
	return n
}
