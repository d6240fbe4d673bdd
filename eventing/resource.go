package eventing

import (
	"fmt"
	"net/url"
	"strings"
)

// ResourceURL finds where a destination is that Azure's resource id alone
// names, in Azure's public cloud. The id ends in what is delivered to:
//
//	.../storageAccounts/a/queueServices/default/queues/q
//	.../storageAccounts/a/blobServices/default/containers/c
//	.../Microsoft.ServiceBus/namespaces/n/queues/q, or topics/t
//	.../Microsoft.EventHub/namespaces/n/eventhubs/h
func ResourceURL(d Destination) (string, error) {
	for _, r := range resources {
		if d.Type != r.of {
			continue
		}
		names, ok := resourceNames(d.ResourceID, r.parent, r.child)
		if !ok {
			return "", fmt.Errorf("the resource id of a %s ends in %s/NAME/%s/NAME", d.Type, r.parent, r.child)
		}
		u := url.URL{Scheme: r.scheme, Host: names[0] + r.domain, Path: names[1]}
		return u.String(), nil
	}
	return "", fmt.Errorf("a destination of endpointType %s needs a URL", d.Type)
}

var resources = []struct {
	of            DestinationType
	parent, child string
	scheme        string
	domain        string
}{
	{ToStorageQueue, "storageAccounts", "queueServices/default/queues", "https", ".queue.core.windows.net"},
	{ToStorageBlob, "storageAccounts", "blobServices/default/containers", "https", ".blob.core.windows.net"},
	{ToServiceBusQueue, "namespaces", "queues", "amqps", ".servicebus.windows.net"},
	{ToServiceBusTopic, "namespaces", "topics", "amqps", ".servicebus.windows.net"},
	{ToEventHub, "namespaces", "eventhubs", "amqps", ".servicebus.windows.net"},
}

// resourceNames are the two names at the end of an id. Azure compares the words
// between them without case.
func resourceNames(id, parent, child string) (names [2]string, ok bool) {
	parts := strings.Split(strings.Trim(id, "/"), "/")
	words := strings.Split(child, "/")
	tail := len(words) + 3 // parent, its name, words, the name
	if len(parts) < tail {
		return names, false
	}
	parts = parts[len(parts)-tail:]
	names = [2]string{parts[1], parts[tail-1]}
	ok = strings.EqualFold(parts[0], parent) && strings.EqualFold(strings.Join(parts[2:tail-1], "/"), child) && names[0] != "" && names[1] != ""
	return names, ok && label(names[0])
}

// label says that a name can be the first word of a host.
func label(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(r rune) bool {
		return r != '-' && (r < '0' || r > '9') && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z')
	})
}
