package sinks

import (
	"cmp"
	"context"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/container"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azqueue/v2"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azqueue/v2/sas"
	"github.com/Azure/go-amqp"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"acrd/eventing"
	"acrd/internal/sinks/sinktest"
)

const userPassword = sinktest.User + ":" + sinktest.Password

var turn atomic.Int64

// fresh is a name that no test had before.
func fresh(prefix string) string { return fmt.Sprintf("%s%d", prefix, turn.Add(1)) }

// TestNATS runs the suite against a nats-server.
func TestNATS(t *testing.T) {
	_, server := sinktest.NATS(t)
	conn, err := nats.Connect("nats://"+server, nats.UserInfo(sinktest.User, sinktest.Password))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	streams, err := jetstream.New(conn)
	if err != nil {
		t.Fatal(err)
	}
	var subject string
	var consumer jetstream.Consumer
	stream := func(t *testing.T, c jetstream.StreamConfig) {
		subject = fresh("events.")
		c.Name, c.Subjects = strings.ReplaceAll(subject, ".", "-"), []string{subject}
		s, err := streams.CreateStream(t.Context(), c)
		if err != nil {
			t.Fatal(err)
		}
		if consumer, err = s.OrderedConsumer(t.Context(), jetstream.OrderedConsumerConfig{}); err != nil {
			t.Fatal(err)
		}
	}
	to := func(t *testing.T, p *sinktest.Proxy, credential string, trusted bool) eventing.Sink {
		p.To(server)
		return mustOpen(t, eventing.Destination{
			Type: eventing.ToNATS, URL: "nats://" + p.Address() + "/" + subject, Trusted: trusted, Attributes: sinktest.Attributes(),
		}, credential)
	}
	sinktest.Run(t, sinktest.Peer{
		Open: func(t *testing.T, p *sinktest.Proxy, trusted bool) eventing.Sink {
			stream(t, jetstream.StreamConfig{})
			return to(t, p, userPassword, trusted)
		},
		Again:    func(t *testing.T, p *sinktest.Proxy) eventing.Sink { return to(t, p, userPassword, true) },
		Connects: true,
		Received: func(t *testing.T, n int) []sinktest.Message { return fromNATS(t, consumer, n) },
		Largest:  1_000_000, TooLarge: 1_100_000,
		Secrets: []string{sinktest.Password, "wrong-0815"},
		Wrong: map[eventing.Outcome]func(*testing.T, *sinktest.Proxy) eventing.Sink{
			eventing.Unauthorized: func(t *testing.T, p *sinktest.Proxy) eventing.Sink { return to(t, p, "ada:wrong-0815", true) },
			eventing.NotFound: func(t *testing.T, p *sinktest.Proxy) eventing.Sink {
				subject = "missing"
				return to(t, p, userPassword, true)
			},
			eventing.Full: func(t *testing.T, p *sinktest.Proxy) eventing.Sink {
				stream(t, jetstream.StreamConfig{MaxBytes: 10, Discard: jetstream.DiscardNew})
				return to(t, p, userPassword, true)
			},
		},
	})
	t.Run("may not publish", func(t *testing.T) {
		sink := to(t, sinktest.NewProxy(t), "mute:"+sinktest.Password, true)
		defer sink.Close()
		began := time.Now()
		_, err := sink.Deliver(t.Context(), sinktest.Delivery(eventing.CloudEvents10))
		if outcome(err) != eventing.Unauthorized || time.Since(began) > 5*time.Second {
			t.Errorf("%v (%s) after %v", err, outcome(err), time.Since(began))
		}
	})
}

// TestNATSEncrypted is about a server that wants encryption, whether the URL
// asks for it or not.
func TestNATSEncrypted(t *testing.T) {
	certificate, ca := selfSigned(t)
	key, err := x509.MarshalPKCS8PrivateKey(certificate.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for name, text := range map[string]string{"ca.pem": ca, "key.pem": string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key}))} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	_, server := sinktest.NATS(t, fmt.Sprintf("tls { cert_file: %q, key_file: %q }", filepath.Join(dir, "ca.pem"), filepath.Join(dir, "key.pem")))
	for _, scheme := range []string{"nats", "natss", "tls"} {
		for ca, want := range map[string]eventing.Outcome{"": eventing.SocketError, ca: eventing.NotFound} { // there is no stream
			sink := mustOpen(t, eventing.Destination{Type: eventing.ToNATS, URL: scheme + "://" + server + "/s", Trusted: true, CA: ca}, userPassword)
			if _, err := sink.Deliver(t.Context(), sinktest.Delivery(eventing.CloudEvents10)); outcome(err) != want {
				t.Errorf("%s, with CA: %v: %v (%s), want %s", scheme, ca != "", err, outcome(err), want)
			}
			sink.Close()
		}
	}
}

func fromNATS(t *testing.T, consumer jetstream.Consumer, n int) (messages []sinktest.Message) {
	t.Helper()
	for range n {
		got, err := consumer.Next(jetstream.FetchMaxWait(10 * time.Second))
		if err != nil {
			t.Fatalf("%d messages of %d: %v", len(messages), n, err)
		}
		m := sinktest.Message{Body: got.Data(), Properties: map[string]string{}}
		for name, values := range got.Headers() {
			m.Properties[name] = values[0]
		}
		m.ID, m.ContentType = m.Properties[nats.MsgIdHdr], m.Properties["Content-Type"]
		messages = append(messages, m)
	}
	return messages
}

// TestRabbitMQ runs the suite against a rabbitmq-server, whose addresses are
// those of its plugin for AMQP 1.0.
func TestRabbitMQ(t *testing.T) {
	_, server := sinktest.RabbitMQ(t)
	var queue string
	var receiver *amqp.Receiver
	to := func(t *testing.T, p *sinktest.Proxy, path, credential string, trusted bool) eventing.Sink {
		p.To(server)
		return mustOpen(t, eventing.Destination{
			Type: eventing.ToAMQP, URL: "amqp://" + p.Address() + path, Trusted: trusted, Attributes: sinktest.Attributes(),
		}, credential)
	}
	sinktest.Run(t, sinktest.Peer{
		Open: func(t *testing.T, p *sinktest.Proxy, trusted bool) eventing.Sink {
			queue = fresh("events")
			receiver = newReceiver(t, server, queue)
			return to(t, p, "/queue/"+queue, userPassword, trusted)
		},
		// The login of Service Bus is the same SASL.
		Again: func(t *testing.T, p *sinktest.Proxy) eventing.Sink {
			return to(t, p, "/queue/"+queue, "Endpoint=sb://127.0.0.1/;SharedAccessKeyName="+sinktest.User+";SharedAccessKey="+sinktest.Password, true)
		},
		Connects: true,
		Received: func(t *testing.T, n int) []sinktest.Message { return fromAMQP(t, receiver, n) },
		Largest:  1 << 20,
		Secrets:  []string{sinktest.Password, "wrong-0815"},
		Wrong: map[eventing.Outcome]func(*testing.T, *sinktest.Proxy) eventing.Sink{
			eventing.Unauthorized: func(t *testing.T, p *sinktest.Proxy) eventing.Sink {
				return to(t, p, "/queue/q", "ada:wrong-0815", true)
			},
			eventing.NotFound: func(t *testing.T, p *sinktest.Proxy) eventing.Sink {
				return to(t, p, "/exchange/missing/key", userPassword, true)
			},
		},
	})
}

func newReceiver(t *testing.T, server, queue string) *amqp.Receiver {
	t.Helper()
	conn, err := amqp.Dial(t.Context(), "amqp://"+server, &amqp.ConnOptions{SASLType: amqp.SASLTypePlain(sinktest.User, sinktest.Password)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	session, err := conn.NewSession(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	// Only a sender can declare a durable queue.
	if _, err := session.NewSender(t.Context(), "/queue/"+queue, &amqp.SenderOptions{TargetDurability: amqp.DurabilityUnsettledState}); err != nil {
		t.Fatal(err)
	}
	receiver, err := session.NewReceiver(t.Context(), "/amq/queue/"+queue, &amqp.ReceiverOptions{Credit: 100})
	if err != nil {
		t.Fatal(err)
	}
	return receiver
}

func fromAMQP(t *testing.T, receiver *amqp.Receiver, n int) (messages []sinktest.Message) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	for range n {
		got, err := receiver.Receive(ctx, nil)
		if err != nil {
			t.Fatalf("%d messages of %d: %v", len(messages), n, err)
		}
		if err := receiver.AcceptMessage(ctx, got); err != nil {
			t.Fatal(err)
		}
		m := sinktest.Message{ID: fmt.Sprint(got.Properties.MessageID), Properties: map[string]string{}}
		if got.Properties.ContentType != nil {
			m.ContentType = *got.Properties.ContentType
		}
		for _, data := range got.Data {
			m.Body = append(m.Body, data...)
		}
		for name, value := range got.ApplicationProperties {
			m.Properties[name] = fmt.Sprint(value)
		}
		messages = append(messages, m)
	}
	return messages
}

// TestStorageQueue runs the suite against Azurite.
func TestStorageQueue(t *testing.T) {
	azure := sinktest.Azurite(t)
	key, err := azqueue.NewSharedKeyCredential(azure.Account, azure.Key)
	if err != nil {
		t.Fatal(err)
	}
	var queue string
	var client *azqueue.QueueClient
	to := func(t *testing.T, p *sinktest.Proxy, credential string, trusted bool) eventing.Sink {
		p.To(azure.Queue)
		return mustOpen(t, eventing.Destination{
			Type: eventing.ToStorageQueue, URL: "http://" + p.Address() + "/" + azure.Account + "/" + queue, Trusted: trusted, MessageTTL: -1,
		}, credential)
	}
	sinktest.Run(t, sinktest.Peer{
		Open: func(t *testing.T, p *sinktest.Proxy, trusted bool) eventing.Sink {
			queue = fresh("events")
			var err error
			client, err = azqueue.NewQueueClientWithSharedKeyCredential("http://"+azure.Queue+"/"+azure.Account+"/"+queue, key, nil)
			if err == nil {
				_, err = client.Create(t.Context(), nil)
			}
			if err != nil {
				t.Fatal(err)
			}
			return to(t, p, "AccountName="+azure.Account+";AccountKey="+azure.Key, trusted)
		},
		Again: func(t *testing.T, p *sinktest.Proxy) eventing.Sink {
			values := sas.QueueSignatureValues{
				Protocol: sas.ProtocolHTTPSandHTTP, ExpiryTime: time.Now().Add(time.Hour).UTC(), QueueName: queue,
				Permissions: (&sas.QueuePermissions{Add: true}).String(),
			}
			signed, err := values.SignWithSharedKey(key)
			if err != nil {
				t.Fatal(err)
			}
			return to(t, p, "?"+signed.Encode(), true)
		},
		NoProperties: true,
		Received:     func(t *testing.T, n int) []sinktest.Message { return fromQueue(t, client, n) },
		Largest:      48_000, TooLarge: 50_000, // 64 KiB in base64
		Secrets: []string{azure.Key},
		Wrong: map[eventing.Outcome]func(*testing.T, *sinktest.Proxy) eventing.Sink{
			eventing.Unauthorized: func(t *testing.T, p *sinktest.Proxy) eventing.Sink {
				return to(t, p, base64.StdEncoding.EncodeToString([]byte("wrong")), true)
			},
			eventing.NotFound: func(t *testing.T, p *sinktest.Proxy) eventing.Sink {
				queue = "missing"
				return to(t, p, azure.Key, true)
			},
		},
	})
}

func fromQueue(t *testing.T, client *azqueue.QueueClient, n int) (messages []sinktest.Message) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	for len(messages) < n {
		answer, err := client.DequeueMessage(ctx, nil)
		if err != nil {
			t.Fatalf("%d messages of %d: %v", len(messages), n, err)
		}
		for _, got := range answer.Messages {
			body, err := base64.StdEncoding.DecodeString(*got.MessageText)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := client.DeleteMessage(ctx, *got.MessageID, *got.PopReceipt, nil); err != nil {
				t.Fatal(err)
			}
			messages = append(messages, sinktest.Message{Body: body})
		}
	}
	return messages
}

// TestStorageBlob runs the suite against Azurite.
func TestStorageBlob(t *testing.T) {
	azure := sinktest.Azurite(t)
	key, err := container.NewSharedKeyCredential(azure.Account, azure.Key)
	if err != nil {
		t.Fatal(err)
	}
	var name string
	var client *container.Client
	var seen map[string]string
	to := func(t *testing.T, p *sinktest.Proxy, credential string, trusted bool) eventing.Sink {
		p.To(azure.Blob)
		return mustOpen(t, eventing.Destination{
			Type: eventing.ToStorageBlob, URL: "http://" + p.Address() + "/" + azure.Account + "/" + name, Trusted: trusted,
		}, credential)
	}
	sinktest.Run(t, sinktest.Peer{
		Open: func(t *testing.T, p *sinktest.Proxy, trusted bool) eventing.Sink {
			name, seen = fresh("letters"), map[string]string{}
			var err error
			client, err = container.NewClientWithSharedKeyCredential("http://"+azure.Blob+"/"+azure.Account+"/"+name, key, nil)
			if err == nil {
				_, err = client.Create(t.Context(), nil)
			}
			if err != nil {
				t.Fatal(err)
			}
			return to(t, p, azure.Key, trusted)
		},
		Again:        func(t *testing.T, p *sinktest.Proxy) eventing.Sink { return to(t, p, azure.Key, true) },
		Bodies:       true,
		NoProperties: true,
		Received:     func(t *testing.T, n int) []sinktest.Message { return fromContainer(t, client, seen, n) },
		Largest:      2 << 20,
		Secrets:      []string{azure.Key},
		Wrong: map[eventing.Outcome]func(*testing.T, *sinktest.Proxy) eventing.Sink{
			eventing.Unauthorized: func(t *testing.T, p *sinktest.Proxy) eventing.Sink {
				return to(t, p, base64.StdEncoding.EncodeToString([]byte("wrong")), true)
			},
			eventing.NotFound: func(t *testing.T, p *sinktest.Proxy) eventing.Sink {
				name = "missing"
				return to(t, p, azure.Key, true)
			},
		},
	})
}

// fromContainer reads the blobs that were not seen before.
func fromContainer(t *testing.T, client *container.Client, seen map[string]string, n int) (messages []sinktest.Message) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	for len(messages) < n {
		pager := client.NewListBlobsFlatPager(nil)
		for pager.More() {
			page, err := pager.NextPage(ctx)
			if err != nil {
				t.Fatalf("%d blobs of %d: %v", len(messages), n, err)
			}
			for _, item := range page.Segment.BlobItems {
				if seen[*item.Name] != "" {
					continue
				}
				seen[*item.Name] = "yes"
				answer, err := client.NewBlobClient(*item.Name).DownloadStream(ctx, nil)
				if err != nil {
					t.Fatal(err)
				}
				body, err := io.ReadAll(answer.Body)
				answer.Body.Close()
				if err != nil {
					t.Fatal(err)
				}
				messages = append(messages, sinktest.Message{Body: body})
			}
		}
	}
	slices.SortFunc(messages, func(a, b sinktest.Message) int { return cmp.Compare(string(a.Body), string(b.Body)) })
	return messages
}
