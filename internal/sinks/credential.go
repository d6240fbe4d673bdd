package sinks

import (
	"errors"
	"fmt"
	"net/url"
	"strings"
)

// login is a name and a password.
type login struct{ user, password string }

// parseLogin reads "user:password", or a connection string of Service Bus or
// Event Hubs, which must be that of the host.
func parseLogin(credential, host string) (login, error) {
	if credential == "" {
		return login{}, nil
	}
	if fields := connectionString(credential); fields["sharedaccesskey"] != "" {
		if err := sameHost(fields["endpoint"], host); err != nil {
			return login{}, err
		}
		return login{fields["sharedaccesskeyname"], fields["sharedaccesskey"]}, nil
	}
	user, password, ok := strings.Cut(credential, ":")
	if !ok {
		return login{}, errors.New("the destination's secret is neither user:password nor a connection string")
	}
	return login{user, password}, nil
}

// connectionString reads "Key=value;Key=value" as Azure writes it. Keys are in
// small letters. It is empty if the text is something else.
func connectionString(text string) map[string]string {
	fields := map[string]string{}
	for part := range strings.SplitSeq(strings.Trim(text, "; \n"), ";") {
		key, value, ok := strings.Cut(part, "=")
		if !ok || strings.ContainsAny(key, ":&?") {
			return nil
		}
		fields[strings.ToLower(strings.TrimSpace(key))] = value
	}
	return fields
}

// sameHost keeps a connection string from being told to another host than the
// one that it was made for.
func sameHost(endpoint, host string) error {
	if endpoint == "" {
		return nil
	}
	u, err := url.Parse(endpoint)
	if err != nil || u.Hostname() == "" {
		return errors.New("the endpoint in the destination's secret cannot be read")
	}
	if !strings.EqualFold(u.Hostname(), host) {
		return fmt.Errorf("the destination's secret is for %s, not for %s", u.Hostname(), host)
	}
	return nil
}
