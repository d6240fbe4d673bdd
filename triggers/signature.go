package triggers

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// The functions below tell whether a webhook was sent by who knows the secret,
// which is not empty. They compare in constant time, and look at the body as it
// came. A header that is there twice is nobody's.

// signedBy is for a header with a prefix and the HMAC in hexadecimal.
func signedBy(name, prefix string) func(http.Header, []byte, string) bool {
	return func(h http.Header, body []byte, secret string) bool {
		value, err := header(h, name)
		given, ok := strings.CutPrefix(value, prefix)
		return err == nil && ok && sameMAC(given, body, secret)
	}
}

func sameMAC(given string, body []byte, secret string) bool {
	sum, err := hex.DecodeString(given)
	return err == nil && hmac.Equal(sum, mac([]byte(secret), body))
}

func mac(key []byte, parts ...[]byte) []byte {
	m := hmac.New(sha256.New, key)
	for _, p := range parts {
		m.Write(p)
	}
	return m.Sum(nil)
}

func signedGitea(h http.Header, body []byte, secret string) bool {
	value, err := header(h, "X-Forgejo-Signature", "X-Gitea-Signature")
	return err == nil && value != "" && sameMAC(value, body, secret)
}

// signedGitLab takes GitLab's token, or a signature if there is one.
func signedGitLab(h http.Header, body []byte, secret string) bool {
	if len(h.Values("Webhook-Signature")) > 0 {
		return signedStandard(h, body, secret)
	}
	value, err := header(h, "X-Gitlab-Token")
	return err == nil && same(value, secret)
}

// signedAzure takes the password of basic authentication: Azure DevOps signs
// nothing.
func signedAzure(h http.Header, _ []byte, secret string) bool {
	if _, err := header(h, "Authorization"); err != nil {
		return false
	}
	_, password, ok := (&http.Request{Header: h}).BasicAuth()
	return ok && same(password, secret)
}

// tolerance is how far the clocks of a sender and ours may be apart.
const tolerance = 5 * time.Minute

// signedStandard is for the Standard Webhooks rules. A key that does not begin
// with whsec_ is taken as it is.
func signedStandard(h http.Header, body []byte, secret string) bool {
	id, err1 := header(h, "Webhook-Id")
	stamp, err2 := header(h, "Webhook-Timestamp")
	signatures, err3 := header(h, "Webhook-Signature")
	if err1 != nil || err2 != nil || err3 != nil || id == "" {
		return false
	}
	seconds, err := strconv.ParseInt(stamp, 10, 64)
	if err != nil || time.Since(time.Unix(seconds, 0)).Abs() > tolerance {
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
	for one := range strings.FieldsSeq(signatures) {
		given, ok := strings.CutPrefix(one, "v1,")
		sum, err := base64.StdEncoding.DecodeString(given)
		found = found || ok && err == nil && hmac.Equal(sum, want)
	}
	return found
}

func same(a, b string) bool {
	x, y := sha256.Sum256([]byte(a)), sha256.Sum256([]byte(b))
	return subtle.ConstantTimeCompare(x[:], y[:]) == 1
}
