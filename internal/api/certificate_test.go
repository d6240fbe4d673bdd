package api

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

// writePair makes a certificate of its own authority for localhost.
func writePair(t *testing.T, certFile, keyFile, name string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		DNSNames: []string{"localhost", name}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(
		os.WriteFile(certFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600),
		os.WriteFile(keyFile, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}), 0o600),
	); err != nil {
		t.Fatal(err)
	}
}

// TestCertificate: a new one is used without a restart, and a half written one
// is not.
func TestCertificate(t *testing.T) {
	dir := t.TempDir()
	c := &Certificate{CertFile: filepath.Join(dir, "c"), KeyFile: filepath.Join(dir, "k")}
	if _, err := c.Config(); err == nil {
		t.Error("there is a configuration without a certificate")
	}
	writePair(t, c.CertFile, c.KeyFile, "one.example")
	config, err := c.Config()
	if err != nil {
		t.Fatal(err)
	}
	serves := func(want string) {
		t.Helper()
		c.mu.Lock()
		c.looked = time.Time{} // a second has passed
		c.mu.Unlock()
		cert, err := config.GetCertificate(&tls.ClientHelloInfo{})
		if err != nil || cert.Leaf.Subject.CommonName != want {
			t.Errorf("serves %v, %v; want %s", cert.Leaf.Subject, err, want)
		}
	}
	serves("one.example")
	if got := c.Names(); !slices.Equal(got, []string{"localhost", "one.example", "127.0.0.1"}) {
		t.Errorf("names %v", got)
	}
	if err := os.WriteFile(c.CertFile, []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	serves("one.example")
	writePair(t, c.CertFile, c.KeyFile, "two.example")
	serves("two.example")
	if err := os.Remove(c.KeyFile); err != nil {
		t.Fatal(err)
	}
	serves("two.example")
}

func TestLoopback(t *testing.T) {
	for address, want := range map[string]bool{"127.0.0.1:1": true, "127.1.2.3:1": true, "[::1]:1": true, "0.0.0.0:1": false, "[::]:1": false, "192.0.2.1:1": false} {
		a, err := net.ResolveTCPAddr("tcp", address)
		if err != nil || Loopback(a) != want {
			t.Errorf("%s: got %v, want %v, %v", address, Loopback(a), want, err)
		}
	}
	if Loopback(&net.UnixAddr{}) {
		t.Error("a unix socket is no loopback address")
	}
}
