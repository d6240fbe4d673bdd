package steps

import (
	"encoding/base64"
	"fmt"
	"slices"
)

// secretVolume holds the secrets that steps want as files. No volume of a file
// can have this name.
const secretVolume = ".secrets"

// SecretVolume is what the engine has to keep in memory so that steps find
// their secrets as files. It is nil if no step wants one. Values are by id.
func (f *File) SecretVolume(values map[string][]byte) *Volume {
	v := &Volume{Name: secretVolume, Files: map[string][]byte{}}
	for _, s := range f.Steps {
		for _, secret := range s.Secrets {
			if value, ok := values[secret.ID]; ok && secret.File != "" {
				v.Files[secretFile(secret.ID)] = value
			}
		}
	}
	if len(v.Files) == 0 {
		return nil
	}
	return v
}

// secretFile is a name for any id.
func secretFile(id string) string { return base64.RawURLEncoding.EncodeToString([]byte(id)) }

// withSecrets hands the step's secrets to its container: variables that are in
// no plan and no log, and files that are on no disk.
func (s *Step) withSecrets(op *ExecOp, env *Env) error {
	for _, secret := range s.Secrets {
		value, ok := env.Secrets[secret.ID]
		switch {
		case !ok:
			return &RefusedError{fmt.Sprintf("secret %s has no value: give it with --set-secret %s=...", secret.ID, secret.ID)}
		case secret.Env != "":
			op.Env = append(slices.Clip(op.Env), secret.Env+"="+string(value))
		default:
			op.Volumes = append(slices.Clip(op.Volumes), VolumeMount{Name: secretVolume, Path: secret.File, File: secretFile(secret.ID)})
		}
	}
	return nil
}
