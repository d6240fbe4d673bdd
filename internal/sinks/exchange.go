package sinks

import (
	"maps"

	"acrd/eventing"
)

const masked = "***"

// exchange is what the history shows of a delivery by a protocol that has no
// requests and answers. Its headers are those of the first event.
func (t *target) exchange(method, version string, d eventing.Delivery, err error) *eventing.Exchange {
	headers := d.Properties()
	maps.Copy(headers, d.Attributes())
	for _, a := range t.Attributes {
		if _, ok := headers[a.Name]; ok && a.Secret {
			headers[a.Name] = masked
		}
	}
	x := &eventing.Exchange{Method: method, URL: t.shown(), Version: version, Headers: headers}
	if err != nil {
		x.Reason = err.Error()
	}
	return x
}

// single is the delivery of one event of d, so that its properties are its own.
func single(d eventing.Delivery, a eventing.Attempted) eventing.Delivery {
	d.Events = []eventing.Attempted{a}
	return d
}

// encode is the body of a message that carries one event of d.
func encode(d eventing.Delivery, a eventing.Attempted) (body []byte, contentType string, err error) {
	body, err = eventing.Encode(d, a)
	if err != nil {
		return nil, "", failedAs(eventing.BadRequest, "encode", err)
	}
	if d.Schema == eventing.CloudEvents10 {
		return body, eventing.CloudEventType, nil
	}
	return body, eventing.EventGridType, nil
}
