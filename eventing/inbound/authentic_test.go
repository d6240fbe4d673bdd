package inbound

import (
	"encoding/base64"
	"encoding/hex"
	"net/http"
	"strconv"
	"testing"
	"time"
)

func TestAuthentic(t *testing.T) {
	body := []byte(`{"a": 1}`)
	hex := func(secret string) string { return hex.EncodeToString(mac([]byte(secret), body)) }
	now := strconv.FormatInt(time.Now().Unix(), 10)
	old := strconv.FormatInt(time.Now().Add(-time.Hour).Unix(), 10)
	standard := func(stamp, key string) map[string]string {
		sum := base64.StdEncoding.EncodeToString(mac([]byte(key), []byte("m1."+stamp+"."), body))
		return map[string]string{"Webhook-Id": "m1", "Webhook-Timestamp": stamp, "Webhook-Signature": "v1a,x v1," + sum}
	}
	basic := func(user, password string) string {
		return "Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+password))
	}
	for _, c := range []struct {
		name           string
		kind           Kind
		header, secret string
		headers        map[string]string
		want           bool
	}{
		{"harbor verbatim", Harbor, "", "Basic abc", map[string]string{"Authorization": "Basic abc"}, true},
		{"bearer", Distribution, "", "s", map[string]string{"Authorization": "Bearer s"}, true},
		{"basic, any user", Zot, "", "s", map[string]string{"Authorization": basic("u", "s")}, true},
		{"basic, that user", Zot, "", "u:s", map[string]string{"Authorization": basic("u", "s")}, true},
		{"basic, another user", Zot, "", "v:s", map[string]string{"Authorization": basic("u", "s")}, false},
		{"nothing", Distribution, "", "s", nil, false},
		{"another header", Distribution, "X-Token", "s", map[string]string{"X-Token": "s"}, true},
		{"another header, wrong", Distribution, "X-Token", "s", map[string]string{"X-Token": "S", "Authorization": "Bearer s"}, false},
		{"jfrog", JFrog, "", "s", map[string]string{"X-JFrog-Event-Auth": "s"}, true},
		{"ecr, an API destination with a key", ECR, "X-Api-Key", "s", map[string]string{"X-Api-Key": "s"}, true},
		{"ecr, with a user", ECR, "", "u:s", map[string]string{"Authorization": basic("u", "s")}, true},
		{"ghcr", GHCR, "", "s", map[string]string{"X-Hub-Signature-256": "sha256=" + hex("s")}, true},
		{"ghcr, wrong", GHCR, "", "s", map[string]string{"X-Hub-Signature-256": "sha256=" + hex("t")}, false},
		{"ghcr, no prefix", GHCR, "", "s", map[string]string{"X-Hub-Signature-256": hex("s")}, false},
		{"ghcr, a header is not enough", GHCR, "", "s", map[string]string{"Authorization": "Bearer s"}, false},
		{"gitea", Gitea, "", "s", map[string]string{"X-Gitea-Signature": hex("s")}, true},
		{"forgejo", Forgejo, "", "s", map[string]string{"X-Forgejo-Signature": hex("s"), "X-Gitea-Signature": hex("t")}, true},
		{"gitea, GitHub's way", Gitea, "", "s", map[string]string{"X-Hub-Signature-256": "sha256=" + hex("s")}, true},
		{"acrd, standard", Acrd, "", "whsec_" + base64.StdEncoding.EncodeToString([]byte("key")), standard(now, "key"), true},
		{"acrd, another key", Acrd, "", "whsec_" + base64.StdEncoding.EncodeToString([]byte("other")), standard(now, "key"), false},
		{"acrd, replayed", Acrd, "", "key", standard(old, "key"), false},
		{"acr, signed", ACR, "", "s", map[string]string{"X-Hub-Signature-256": "sha256=" + hex("s")}, true},
		{"acr, header", ACR, "", "s", map[string]string{"Authorization": "s"}, true},
	} {
		h := http.Header{}
		for k, v := range c.headers {
			h.Set(k, v)
		}
		if got := Authentic(c.kind, c.header, c.secret, h, body); got != c.want {
			t.Errorf("%s: got %v, want %v", c.name, got, c.want)
		}
		if c.want && Authentic(c.kind, c.header, c.secret, h, []byte(`{"a":1}`)) && len(c.headers) > 0 && h.Get("X-Hub-Signature-256") != "" {
			t.Errorf("%s: another body was taken", c.name)
		}
	}
	twice := http.Header{"Authorization": {"Bearer s", "Bearer t"}}
	if Authentic(Distribution, "", "s", twice, body) {
		t.Error("a header that is there twice was taken")
	}
}
