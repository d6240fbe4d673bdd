package eventing

import "testing"

func TestResourceURL(t *testing.T) {
	const group = "/subscriptions/s/resourceGroups/g/providers/"
	for _, test := range []struct {
		of       DestinationType
		id, want string
	}{
		{ToStorageQueue, group + "Microsoft.Storage/storageAccounts/acc/queueServices/default/queues/q", "https://acc.queue.core.windows.net/q"},
		{ToStorageBlob, group + "Microsoft.Storage/storageaccounts/acc/blobServices/default/containers/c", "https://acc.blob.core.windows.net/c"},
		{ToServiceBusQueue, group + "Microsoft.ServiceBus/namespaces/ns/queues/q", "amqps://ns.servicebus.windows.net/q"},
		{ToServiceBusTopic, group + "Microsoft.ServiceBus/namespaces/ns/topics/t", "amqps://ns.servicebus.windows.net/t"},
		{ToEventHub, group + "Microsoft.EventHub/namespaces/ns/eventhubs/h", "amqps://ns.servicebus.windows.net/h"},
		{ToServiceBusQueue, group + "Microsoft.ServiceBus/namespaces/ns/topics/t", ""},
		{ToServiceBusQueue, group + "Microsoft.ServiceBus/namespaces/evil.example@ns/queues/q", ""},
		{ToStorageQueue, group + "Microsoft.Storage/storageAccounts/acc", ""},
		{ToWebHook, "", ""},
	} {
		got, err := ResourceURL(Destination{Type: test.of, ResourceID: test.id})
		if got != test.want || (err != nil) != (test.want == "") {
			t.Errorf("%s %s: %q, %v; want %q", test.of, test.id, got, err, test.want)
		}
	}
}
