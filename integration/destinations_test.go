package integration

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"testing"
	"time"

	"acrd/internal/sinks/sinktest"

	"github.com/Azure/azure-sdk-for-go/sdk/storage/azqueue/v2"
	"github.com/Azure/go-amqp"
	"github.com/google/go-containerregistry/pkg/crane"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// TestDestinations has a push told to queues and brokers, whose credentials are
// secrets of the daemon.
func TestDestinations(t *testing.T) {
	need(t)
	d := start(t)
	for _, tt := range []struct {
		name    string
		prepare func(t *testing.T) (endpoint, secret string, receive func(context.Context) ([]byte, error))
	}{
		{"nats", toNATS},
		{"rabbitmq", toRabbitMQ},
		{"storagequeue", toStorageQueue},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d := d.in(t)
			endpoint, secret, receive := tt.prepare(t)
			dir := d.folder(map[string]string{"secret": secret})
			d.succeed(d.acrd(dir, "secret", "set", tt.name, "--file", "secret"))
			create := []string{"event-subscription", "create", "-n", tt.name + "-sub", "--endpoint", endpoint, "--secret", tt.name, "--trusted", "--event-delivery-schema", "cloudeventschemav1_0"}
			if tt.name == "storagequeue" {
				create = append(create, "--endpoint-type", "storagequeue", "--insecure")
			}
			d.succeed(d.acrd(".", create...))
			ok(t, crane.Push(someImage(t), d.registry+"/told/"+tt.name+":v1", crane.Insecure))
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			body, err := receive(ctx)
			ok(t, err)
			var e struct {
				SpecVersion, Type, Subject string
				Data                       struct{ Action string }
			}
			if err := json.Unmarshal(body, &e); err != nil || e.SpecVersion != "1.0" || e.Type != "Microsoft.ContainerRegistry.ImagePushed" ||
				e.Subject != "told/"+tt.name+":v1" || e.Data.Action != "push" {
				t.Errorf("received %s: %v", body, err)
			}
			d.succeed(d.acrd(".", "event-subscription", "delete", "-n", tt.name+"-sub"))
		})
	}
}

func toNATS(t *testing.T) (string, string, func(context.Context) ([]byte, error)) {
	_, server := sinktest.NATS(t)
	conn, err := nats.Connect("nats://"+server, nats.UserInfo(sinktest.User, sinktest.Password))
	ok(t, err)
	t.Cleanup(conn.Close)
	streams, err := jetstream.New(conn)
	ok(t, err)
	stream, err := streams.CreateStream(t.Context(), jetstream.StreamConfig{Name: "pushes", Subjects: []string{"pushes"}})
	ok(t, err)
	consumer, err := stream.OrderedConsumer(t.Context(), jetstream.OrderedConsumerConfig{})
	ok(t, err)
	return "nats://" + server + "/pushes", sinktest.User + ":" + sinktest.Password, func(context.Context) ([]byte, error) {
		m, err := consumer.Next(jetstream.FetchMaxWait(20 * time.Second))
		if err != nil {
			return nil, err
		}
		return m.Data(), nil
	}
}

func toRabbitMQ(t *testing.T) (string, string, func(context.Context) ([]byte, error)) {
	_, server := sinktest.RabbitMQ(t)
	conn, err := amqp.Dial(t.Context(), "amqp://"+server, &amqp.ConnOptions{SASLType: amqp.SASLTypePlain(sinktest.User, sinktest.Password)})
	ok(t, err)
	t.Cleanup(func() { conn.Close() })
	session, err := conn.NewSession(t.Context(), nil)
	ok(t, err)
	// Only a sender can declare a durable queue.
	_, err = session.NewSender(t.Context(), "/queue/pushes", &amqp.SenderOptions{TargetDurability: amqp.DurabilityUnsettledState})
	ok(t, err)
	receiver, err := session.NewReceiver(t.Context(), "/amq/queue/pushes", nil)
	ok(t, err)
	return "amqp://" + server + "/queue/pushes", sinktest.User + ":" + sinktest.Password, func(ctx context.Context) ([]byte, error) {
		m, err := receiver.Receive(ctx, nil)
		if err != nil {
			return nil, err
		}
		return m.GetData(), receiver.AcceptMessage(ctx, m)
	}
}

func toStorageQueue(t *testing.T) (string, string, func(context.Context) ([]byte, error)) {
	azure := sinktest.Azurite(t)
	address := "http://" + azure.Queue + "/" + azure.Account + "/pushes"
	key, err := azqueue.NewSharedKeyCredential(azure.Account, azure.Key)
	ok(t, err)
	client, err := azqueue.NewQueueClientWithSharedKeyCredential(address, key, nil)
	ok(t, err)
	_, err = client.Create(t.Context(), nil)
	ok(t, err)
	return address, "AccountName=" + azure.Account + ";AccountKey=" + azure.Key, func(ctx context.Context) ([]byte, error) {
		for {
			answer, err := client.DequeueMessage(ctx, nil)
			if err != nil {
				return nil, err
			}
			if len(answer.Messages) == 1 {
				return base64.StdEncoding.DecodeString(*answer.Messages[0].MessageText)
			}
			time.Sleep(100 * time.Millisecond)
		}
	}
}
