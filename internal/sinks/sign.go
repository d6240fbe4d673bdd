package sinks

import (
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// sign adds the signatures of Standard Webhooks, one for each key, and GitHub's.
// Without keys it adds nothing.
func sign(h http.Header, keys Keys, id string, body []byte, now time.Time) error {
	if keys.Hub != "" {
		h.Set("X-Hub-Signature-256", "sha256="+hex.EncodeToString(mac([]byte(keys.Hub), body)))
	}
	if len(keys.Standard) == 0 {
		return nil
	}
	seconds := strconv.FormatInt(now.Unix(), 10)
	content := append([]byte(id+"."+seconds+"."), body...)
	var signatures []string
	for _, key := range keys.Standard {
		s, err := signStandard(strings.TrimSpace(key), content)
		if err != nil {
			return err
		}
		signatures = append(signatures, s)
	}
	h.Set("webhook-id", id)
	h.Set("webhook-timestamp", seconds)
	h.Set("webhook-signature", strings.Join(signatures, " "))
	return nil
}

func signStandard(key string, content []byte) (string, error) {
	prefix, text, ok := strings.Cut(key, "_")
	if !ok || prefix != "whsec" && prefix != "whsk" {
		return "", errors.New("a key of Standard Webhooks begins with whsec_ or whsk_")
	}
	b, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return "", errors.New("a key of Standard Webhooks is whsec_ or whsk_ and base64")
	}
	if prefix == "whsec" {
		return "v1," + base64.StdEncoding.EncodeToString(mac(b, content)), nil
	}
	switch len(b) {
	case ed25519.SeedSize:
		b = ed25519.NewKeyFromSeed(b)
	case ed25519.PrivateKeySize:
	default:
		return "", fmt.Errorf("a whsk_ key has %d or %d bytes", ed25519.SeedSize, ed25519.PrivateKeySize)
	}
	return "v1a," + base64.StdEncoding.EncodeToString(ed25519.Sign(b, content)), nil
}

func mac(key, content []byte) []byte {
	m := hmac.New(sha256.New, key)
	m.Write(content)
	return m.Sum(nil)
}
