package sinks

import (
	"strings"

	"github.com/Azure/go-amqp"

	"acrd/eventing"
)

// messages are the events of d, one a message.
func (s *amqpSink) messages(d eventing.Delivery) ([]*amqp.Message, error) {
	messages := make([]*amqp.Message, 0, len(d.Events))
	for _, a := range d.Events {
		body, contentType, err := encode(d, a)
		if err != nil {
			return nil, err
		}
		messages = append(messages, amqpMessage(single(d, a), body, contentType))
	}
	return messages, nil
}

// amqpMessage writes the attributes of a delivery where Service Bus and Event
// Hubs have a place for them, and beside Event Grid's properties otherwise.
func amqpMessage(d eventing.Delivery, body []byte, contentType string) *amqp.Message {
	m := amqp.NewMessage(body)
	m.Header = &amqp.MessageHeader{Durable: true}
	m.Properties = &amqp.MessageProperties{MessageID: d.Events[0].ID, ContentType: &contentType}
	m.ApplicationProperties = map[string]any{}
	for name, value := range d.Properties() {
		m.ApplicationProperties[name] = value
	}
	for name, value := range d.Attributes() {
		if set, ok := places[strings.ToLower(name)]; ok {
			set(m, value)
			continue
		}
		m.ApplicationProperties[name] = value
	}
	return m
}

// places are Service Bus' names for the properties of messages.
var places = map[string]func(*amqp.Message, string){
	"messageid":        func(m *amqp.Message, v string) { m.Properties.MessageID = v },
	"correlationid":    func(m *amqp.Message, v string) { m.Properties.CorrelationID = v },
	"sessionid":        func(m *amqp.Message, v string) { m.Properties.GroupID = &v },
	"label":            func(m *amqp.Message, v string) { m.Properties.Subject = &v },
	"to":               func(m *amqp.Message, v string) { m.Properties.To = &v },
	"replyto":          func(m *amqp.Message, v string) { m.Properties.ReplyTo = &v },
	"replytosessionid": func(m *amqp.Message, v string) { m.Properties.ReplyToGroupID = &v },
	"partitionkey":     annotate("x-opt-partition-key"),
	"viapartitionkey":  annotate("x-opt-via-partition-key"),
}

func annotate(key string) func(*amqp.Message, string) {
	return func(m *amqp.Message, v string) {
		if m.Annotations == nil {
			m.Annotations = amqp.Annotations{}
		}
		m.Annotations[key] = v
	}
}
