package eventing

import (
	"strconv"
	"strings"
)

// Attributes are the subscription's own; a batch has those of its first event.
func (d Delivery) Attributes() map[string]string {
	if len(d.Events) == 0 {
		return nil
	}
	return d.Events[0].Attributes
}

// Properties are what Event Grid tells with each delivery beside the events:
// the headers of a request, the properties of a message. A batch is described
// by its first event.
func (d Delivery) Properties() map[string]string {
	p := map[string]string{
		"aeg-subscription-name": strings.ToUpper(d.Subscription),
		"aeg-event-type":        "Notification",
		"aeg-metadata-version":  "1",
	}
	if d.Schema == CloudEvents10 {
		p["aeg-metadata-version"] = "1.0"
	}
	if len(d.Events) == 0 {
		return p
	}
	first := d.Events[0]
	p["aeg-delivery-count"] = strconv.Itoa(first.Count)
	p["aeg-output-event-id"] = first.ID
	if d.Schema != CloudEvents10 {
		p["aeg-data-version"] = first.DataVersion
		if first.DataVersion == "" {
			p["aeg-data-version"] = "1.0"
		}
	}
	return p
}
