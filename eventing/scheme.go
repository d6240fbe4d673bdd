package eventing

// Schemes are those that the URLs of a type of destination begin with: of
// connections that are encrypted, and of those that are not.
func Schemes(t DestinationType) (encrypted, plain []string) {
	switch t {
	case ToServiceBusQueue, ToServiceBusTopic, ToAMQP:
		return []string{"amqps", "sb"}, []string{"amqp"}
	case ToEventHub: // they speak Kafka's protocol, too
		return []string{"amqps", "sb", "kafkas"}, []string{"amqp"}
	case ToNATS:
		return []string{"natss", "tls"}, []string{"nats"}
	case ToKafka:
		return []string{"kafkas"}, []string{"kafka"}
	case ToFolder:
		return []string{"file"}, nil
	}
	return []string{"https"}, []string{"http"}
}
