package inbound

import (
	"cmp"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Authentic tells whether a hook was sent by who knows the secret, which is not
// empty. Kinds that sign must sign; of the others a header carries the secret,
// or a signature if there is one. Header is its name; empty is the one that the
// kind uses. It compares in constant time, and looks at the body as it came.
func Authentic(kind Kind, header, secret string, h http.Header, body []byte) bool {
	switch kind {
	case GHCR:
		return signedHub(h, body, secret, "X-Hub-Signature-256")
	case Gitea, Forgejo:
		return signedHub(h, body, secret, "X-Hub-Signature-256") || signedPlain(h, body, secret, "X-Forgejo-Signature", "X-Gitea-Signature")
	}
	if slices.Contains([]Kind{ACR, EventGrid, Acrd, CloudEvents}, kind) {
		switch {
		case h.Get("Webhook-Signature") != "":
			return signedStandard(h, body, secret, time.Now())
		case h.Get("X-Hub-Signature-256") != "":
			return signedHub(h, body, secret, "X-Hub-Signature-256")
		}
	}
	if header == "" && kind == JFrog {
		header = "X-Jfrog-Event-Auth"
	}
	return carries(h, cmp.Or(header, "Authorization"), secret)
}

// carries is for a header that holds the secret as it is; Authorization may
// also be that of Bearer or Basic, whose user does not matter unless the secret
// names it.
func carries(h http.Header, name, secret string) bool {
	values := h.Values(name)
	if len(values) != 1 {
		return false
	}
	found := same(values[0], secret)
	if !strings.EqualFold(name, "Authorization") {
		return found
	}
	if token, ok := strings.CutPrefix(values[0], "Bearer "); ok {
		found = same(token, secret) || found
	}
	if user, password, ok := (&http.Request{Header: h}).BasicAuth(); ok {
		found = same(password, secret) || found
		found = same(user+":"+password, secret) || found
	}
	return found
}

// signedHub is GitHub's way.
func signedHub(h http.Header, body []byte, secret, name string) bool {
	values := h.Values(name)
	if len(values) != 1 {
		return false
	}
	given, ok := strings.CutPrefix(values[0], "sha256=")
	return ok && sameMAC(given, []byte(secret), body)
}

// signedPlain is Gitea's: the first of these headers that is there, once.
func signedPlain(h http.Header, body []byte, secret string, names ...string) bool {
	for _, name := range names {
		if values := h.Values(name); len(values) > 0 {
			return len(values) == 1 && sameMAC(values[0], []byte(secret), body)
		}
	}
	return false
}

// tolerance is how far the clocks of a sender and ours may be apart.
const tolerance = 5 * time.Minute

// signedStandard is the way of Standard Webhooks, with several signatures while
// a secret is changed.
func signedStandard(h http.Header, body []byte, secret string, now time.Time) bool {
	id, stamp := h.Get("Webhook-Id"), h.Get("Webhook-Timestamp")
	at, err := strconv.ParseInt(stamp, 10, 64)
	if err != nil || id == "" || now.Sub(time.Unix(at, 0)).Abs() > tolerance {
		return false
	}
	key := []byte(secret)
	if encoded, ok := strings.CutPrefix(secret, "whsec_"); ok {
		if key, err = base64.StdEncoding.DecodeString(encoded); err != nil || len(key) == 0 {
			return false
		}
	}
	want := mac(key, []byte(id+"."+stamp+"."), body)
	found := false
	for one := range strings.FieldsSeq(h.Get("Webhook-Signature")) {
		given, ok := strings.CutPrefix(one, "v1,")
		sum, err := base64.StdEncoding.DecodeString(given)
		found = ok && err == nil && hmac.Equal(sum, want) || found
	}
	return found
}

func sameMAC(given string, key, body []byte) bool {
	sum, err := hex.DecodeString(given)
	return err == nil && hmac.Equal(sum, mac(key, body))
}

func mac(key []byte, parts ...[]byte) []byte {
	m := hmac.New(sha256.New, key)
	for _, p := range parts {
		m.Write(p)
	}
	return m.Sum(nil)
}

func same(a, b string) bool {
	x, y := sha256.Sum256([]byte(a)), sha256.Sum256([]byte(b))
	return subtle.ConstantTimeCompare(x[:], y[:]) == 1
}
