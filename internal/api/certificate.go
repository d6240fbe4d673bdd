package api

import (
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"os"
	"sync"
	"time"
)

// A Certificate is read from its files again when they have changed. If what
// they hold then is no good, for instance because the other one is not there
// yet, the last good one stays. It is safe for concurrent use.
type Certificate struct {
	CertFile, KeyFile string
	Log               *slog.Logger // nil discards

	mu      sync.Mutex // guards what follows
	current *tls.Certificate
	looked  time.Time
	stamp   string
}

// lookAgain is how often the files are looked at, when there are connections.
const lookAgain = time.Second

// Config serves with the certificate; it is an error if there is none now.
func (c *Certificate) Config() (*tls.Config, error) {
	if _, err := c.get(nil); err != nil {
		return nil, err
	}
	return &tls.Config{GetCertificate: c.get, MinVersion: tls.VersionTLS12}, nil
}

// Names are the hosts that the certificate is for: what a client that trusts
// it may call this daemon.
func (c *Certificate) Names() []string {
	cert, err := c.get(nil)
	if err != nil || cert.Leaf == nil {
		return nil
	}
	names := append([]string(nil), cert.Leaf.DNSNames...)
	for _, ip := range cert.Leaf.IPAddresses {
		names = append(names, ip.String())
	}
	return names
}

func (c *Certificate) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.current != nil && time.Since(c.looked) < lookAgain {
		return c.current, nil
	}
	c.looked = time.Now()
	stamp := fileStamp(c.CertFile) + fileStamp(c.KeyFile)
	if c.current != nil && stamp == c.stamp {
		return c.current, nil
	}
	loaded, err := tls.LoadX509KeyPair(c.CertFile, c.KeyFile)
	switch {
	case err == nil:
		c.current = &loaded
	case c.current == nil:
		return nil, fmt.Errorf("certificate %s: %w", c.CertFile, err)
	case c.Log != nil:
		c.Log.Warn("certificate cannot be read, the last one stays", "file", c.CertFile, "err", err)
	}
	c.stamp = stamp
	return c.current, nil
}

// fileStamp changes when the file does.
func fileStamp(name string) string {
	info, err := os.Stat(name)
	if err != nil {
		return err.Error()
	}
	return fmt.Sprint(info.ModTime().UnixNano(), info.Size(), ";")
}

// Loopback says that nobody but this machine can connect to a listener.
func Loopback(a net.Addr) bool {
	t, ok := a.(*net.TCPAddr)
	return ok && t.IP.IsLoopback()
}
