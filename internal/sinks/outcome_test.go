package sinks

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/Azure/go-amqp"
	"github.com/twmb/franz-go/pkg/kfake"

	"acrd/eventing"
	"acrd/internal/sinks/sinktest"
)

// everywhere is a destination of each kind that connects, at one host.
func everywhere(hostPort string) map[string]eventing.Destination {
	return map[string]eventing.Destination{
		"queue": {Type: eventing.ToStorageQueue, URL: "http://" + hostPort + "/account/q?sig=s-0815"},
		"blob":  {Type: eventing.ToStorageBlob, URL: "http://" + hostPort + "/account/c?sig=s-0815"},
		"AMQP":  {Type: eventing.ToAMQP, URL: "amqp://ada:s-0815@" + hostPort + "/q"},
		"NATS":  {Type: eventing.ToNATS, URL: "nats://ada:s-0815@" + hostPort + "/s"},
		"Kafka": {Type: eventing.ToKafka, URL: "kafka://ada:s-0815@" + hostPort + "/t"},
	}
}

func TestUnknownHost(t *testing.T) {
	for name, d := range everywhere("nobody.invalid:4444") {
		t.Run(name, func(t *testing.T) {
			sink := mustOpen(t, d, "")
			defer sink.Close()
			x, err := sink.Deliver(t.Context(), sinktest.Delivery(eventing.CloudEvents10))
			if outcome(err) != eventing.ResolutionError {
				t.Errorf("%v (%s), want %s", err, outcome(err), eventing.ResolutionError)
			}
			if told := fmt.Sprintf("%v %+v", err, x); strings.Contains(told, "0815") {
				t.Errorf("a secret is told: %s", told)
			}
		})
	}
}

// TestStorageAnswers answers what Azure Storage may answer.
func TestStorageAnswers(t *testing.T) {
	for _, test := range []struct {
		status int
		code   string
		want   eventing.Outcome
	}{
		{400, "InvalidInput", eventing.BadRequest},
		{401, "", eventing.Unauthorized},
		{403, "AuthenticationFailed", eventing.Unauthorized},
		{403, "AccountIsDisabled", eventing.Disabled},
		{404, "QueueNotFound", eventing.NotFound},
		{408, "", eventing.TimedOut},
		{409, "QueueBeingDeleted", eventing.Busy},
		{409, "QueueDisabled", eventing.Disabled},
		{413, "RequestBodyTooLarge", eventing.PayloadTooLarge},
		{429, "", eventing.Busy},
		{500, "OperationTimedOut", eventing.TimedOut},
		{500, "InternalError", eventing.Busy},
		{503, "ServerBusy", eventing.Busy},
		{504, "", eventing.TimedOut},
		{507, "", eventing.Full},
		{307, "", eventing.Busy},
	} {
		for _, kind := range []string{"queue", "blob"} {
			asked := 0
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				asked++
				w.Header().Set("x-ms-error-code", test.code)
				w.Header().Set("Retry-After", "7")
				w.Header().Set("Location", "/elsewhere")
				w.WriteHeader(test.status)
			}))
			d := everywhere(server.Listener.Addr().String())[kind]
			d.Trusted = true
			sink := mustOpen(t, d, "")
			x, err := sink.Deliver(t.Context(), sinktest.Delivery(eventing.CloudEvents10))
			e, _ := err.(*eventing.DeliveryError) //nolint:errorlint // the contract is the type
			if e == nil || e.Outcome != test.want || e.Status != test.status || e.RetryAfter != 7*time.Second || asked != 1 || x.Status != test.status {
				t.Errorf("%s, %d %s: %v (%s), asked %d times; want %s, once", kind, test.status, test.code, err, outcome(err), asked, test.want)
			}
			sink.Close()
			server.Close()
		}
	}
}

func TestAMQPConditions(t *testing.T) {
	for condition, want := range map[amqp.ErrCond]eventing.Outcome{
		amqp.ErrCondNotFound:              eventing.NotFound,
		amqp.ErrCondUnauthorizedAccess:    eventing.Unauthorized,
		amqp.ErrCondResourceLimitExceeded: eventing.Full,
		amqp.ErrCondMessageSizeExceeded:   eventing.PayloadTooLarge,
		"com.microsoft:server-busy":       eventing.Busy,
		"com.microsoft:entity-disabled":   eventing.Disabled,
		amqp.ErrCondConnectionForced:      eventing.SocketError,
	} {
		err := amqpFailed("send", fmt.Errorf("wrapped: %w", &amqp.LinkError{RemoteErr: &amqp.Error{Condition: condition}}))
		if outcome(err) != want {
			t.Errorf("%s is %s, want %s", condition, outcome(err), want)
		}
	}
}

// TestEncrypted is about the CA of a destination.
func TestEncrypted(t *testing.T) {
	certificate, ca := selfSigned(t)
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, "t"), kfake.TLS(&tls.Config{Certificates: []tls.Certificate{certificate}}))
	if err != nil {
		t.Fatal(err)
	}
	defer cluster.Close()
	for _, test := range []struct {
		name string
		d    eventing.Destination
		want eventing.Outcome
	}{
		{"unknown CA", eventing.Destination{}, eventing.SocketError},
		{"its CA", eventing.Destination{CA: ca}, ""},
		{"any", eventing.Destination{Insecure: true}, ""},
	} {
		test.d.Type, test.d.Trusted, test.d.URL = eventing.ToKafka, true, "kafkas://"+cluster.ListenAddrs()[0]+"/t"
		sink := mustOpen(t, test.d, "")
		_, err := sink.Deliver(t.Context(), sinktest.Delivery(eventing.CloudEvents10))
		if (err != nil || test.want != "") && (err == nil || outcome(err) != test.want) {
			t.Errorf("%s: %v, want %q", test.name, err, test.want)
		}
		sink.Close()
	}
}

func TestStorageEncrypted(t *testing.T) {
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusCreated)
		_, _ = io.WriteString(w, "<QueueMessagesList/>")
	}))
	server.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, 0)
	defer server.Close()
	ca := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}))
	for ca, want := range map[string]eventing.Outcome{"": eventing.SocketError, ca: ""} {
		for _, kind := range []string{"queue", "blob"} {
			d := everywhere(server.Listener.Addr().String())[kind]
			d.URL, d.Trusted, d.CA = strings.Replace(d.URL, "http:", "https:", 1), true, ca
			sink := mustOpen(t, d, "")
			_, err := sink.Deliver(t.Context(), sinktest.Delivery(eventing.CloudEvents10))
			if (err != nil || want != "") && (err == nil || outcome(err) != want) {
				t.Errorf("%s, with CA: %v: %v, want %q", kind, ca != "", err, want)
			}
			sink.Close()
		}
	}
}

// TestTimeout delivers to who takes connections and never says a word.
func TestTimeout(t *testing.T) {
	if os.Getenv("ACRD_INTEGRATION") != "1" {
		t.Skip("it takes 30 s: ACRD_INTEGRATION is not 1")
	}
	t.Parallel()
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { silent.Close() })
	for name, d := range everywhere(silent.Addr().String()) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d.Trusted = true
			sink := mustOpen(t, d, "")
			defer sink.Close()
			began := time.Now()
			_, err := sink.Deliver(t.Context(), sinktest.Delivery(eventing.CloudEvents10))
			if took := time.Since(began); outcome(err) != eventing.TimedOut || took > Timeout+5*time.Second {
				t.Errorf("%v (%s) after %v, want %s", err, outcome(err), took, eventing.TimedOut)
			}
		})
	}
}

func selfSigned(t *testing.T) (tls.Certificate, string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}
