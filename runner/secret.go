package runner

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
)

// A Secret is text that is not to be shown: it marshals to null and prints as
// stars. In the fields of a [Task] nil means that none was given, which keeps
// the one that is stored, and the empty one that there is to be none.
type Secret string

// NewSecret is a secret of a text.
func NewSecret(text string) *Secret {
	s := Secret(text)
	return &s
}

// Reveal is the text; empty for nil.
func (s *Secret) Reveal() string {
	if s == nil {
		return ""
	}
	return string(*s)
}

// MarshalJSON writes null, whatever the secret.
func (s Secret) MarshalJSON() ([]byte, error) { return []byte("null"), nil }

// Format prints stars for every verb.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "***") }

// given is nil for a secret that is empty.
func (s *Secret) given() *Secret {
	if s.Reveal() == "" {
		return nil
	}
	return s
}

type plainArgument struct {
	Name     string  `json:"name"`
	Value    *string `json:"value"`
	IsSecret bool    `json:"isSecret"`
}

// MarshalJSON leaves out the value of a secret argument.
func (a Argument) MarshalJSON() ([]byte, error) {
	p := plainArgument{Name: a.Name, IsSecret: a.IsSecret}
	if !a.IsSecret {
		p.Value = &a.Value
	}
	return json.Marshal(p)
}

// UnmarshalJSON reads the value, secret or not.
func (a *Argument) UnmarshalJSON(b []byte) error {
	var p plainArgument
	if err := json.Unmarshal(b, &p); err != nil {
		return err
	}
	*a = Argument{Name: p.Name, IsSecret: p.IsSecret}
	if p.Value != nil {
		a.Value = *p.Value
	}
	return nil
}

type plainObject struct {
	Value *string `json:"value"`
	Type  string  `json:"type,omitempty"`
}

// MarshalJSON writes the value only if it is an address.
func (o SecretObject) MarshalJSON() ([]byte, error) {
	p := plainObject{Type: o.Type}
	if o.Type == VaultSecret {
		text := o.Value.Reveal()
		p.Value = &text
	}
	return json.Marshal(p)
}

// UnmarshalJSON reads the value, secret or not.
func (o *SecretObject) UnmarshalJSON(b []byte) error {
	var p plainObject
	if err := json.Unmarshal(b, &p); err != nil {
		return err
	}
	*o = SecretObject{Type: p.Type, Value: (*Secret)(p.Value)}
	return nil
}

// A secretPlace is one secret in a task. Its key stays the same for as long as
// the secret means the same: it has the names of what the secret belongs to,
// and where the secret is sent.
type secretPlace struct {
	key string
	get func() *Secret
	set func(*Secret)
}

func secretAt(key string, field **Secret) secretPlace {
	return secretPlace{key, func() *Secret { return *field }, func(s *Secret) { *field = s }}
}

func (a *Argument) place(key string) secretPlace {
	get := func() *Secret { return NewSecret(a.Value).given() }
	return secretPlace{key, get, func(s *Secret) { a.Value = s.Reveal() }}
}

// secretPlaces are all places of t where a secret can be.
func (t *Task) secretPlaces() []secretPlace {
	places := []secretPlace{secretAt("context "+t.Step.ContextPath, &t.Step.ContextAccessToken)}
	for kind, list := range map[string][]Argument{"argument ": t.Step.Arguments, "value ": t.Step.Values} {
		for i := range list {
			if list[i].IsSecret {
				places = append(places, list[i].place(kind+list[i].Name))
			}
		}
	}
	if t.Trigger != nil {
		places = append(places, t.Trigger.secretPlaces()...)
	}
	if t.Credentials == nil {
		return places
	}
	for host, c := range t.Credentials.CustomRegistries {
		for kind, o := range map[string]*SecretObject{"user ": c.UserName, "password ": c.Password} {
			if o != nil && o.Type != VaultSecret {
				places = append(places, secretAt(kind+host, &o.Value))
			}
		}
	}
	return places
}

func (t *TaskTrigger) secretPlaces() []secretPlace {
	var places []secretPlace
	for i := range t.Sources {
		s := &t.Sources[i]
		if auth := s.Repository.Auth; auth != nil {
			to := s.Name + " " + s.Repository.URL
			places = append(places, secretAt("token "+to, &auth.Token), secretAt("refreshToken "+to, &auth.RefreshToken))
		}
		places = append(places, secretAt("webhook "+s.Name, &s.WebhookSecret))
	}
	if t.BaseImage != nil {
		places = append(places, secretAt("endpoint "+t.BaseImage.Name, &t.BaseImage.Endpoint))
	}
	return places
}

// Secrets are the secrets in t, by where they belong. They are not in t's
// JSON.
func (t *Task) Secrets() map[string]string {
	all := map[string]string{}
	for _, p := range t.secretPlaces() {
		if s := p.get().given(); s != nil {
			all[p.key] = s.Reveal()
		}
	}
	return all
}

// SetSecrets puts secrets, as Secrets returned them, where t has none. A place
// where t has an explicitly empty one stays without.
func (t *Task) SetSecrets(secrets map[string]string) {
	for _, p := range t.secretPlaces() {
		if s, ok := secrets[p.key]; ok && p.get() == nil {
			p.set(NewSecret(s))
			continue
		}
		p.set(p.get().given())
	}
}

// Clone is a copy that shares nothing, secrets included.
func (t *Task) Clone() *Task {
	b, err := json.Marshal(t)
	if err != nil {
		panic(err) // a Task is made of what JSON can say
	}
	c := new(Task)
	if err := json.Unmarshal(b, c); err != nil {
		panic(err)
	}
	c.SetSecrets(maps.Clone(t.Secrets()))
	return c
}
