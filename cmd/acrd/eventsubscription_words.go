package main

import (
	"fmt"
	"os"
	"strconv"
	"strings"

	"acrd/eventing"
)

// wordGroups is a flag that several words follow, each time that it is given.
type wordGroups [][]string

// groupSeparator joins the words of one group.
const groupSeparator = "\x00"

func (g *wordGroups) String() string { return "" }
func (g *wordGroups) Type() string   { return "words" }
func (g *wordGroups) Set(v string) error {
	if v != "" {
		*g = append(*g, strings.Split(v, groupSeparator))
	}
	return nil
}

// fromFile reads a word that is @FILE from there, as az does: what other users
// must not see in the list of processes.
func fromFile(word string) (string, error) {
	name, ok := strings.CutPrefix(word, "@")
	if !ok {
		return word, nil
	}
	b, err := os.ReadFile(name)
	if err != nil {
		return "", &usageError{err.Error()}
	}
	return strings.TrimSpace(string(b)), nil
}

// advancedFilter reads KEY OPERATOR VALUE ...
func advancedFilter(words []string) (body, error) {
	if len(words) < 2 {
		return nil, &usageError{"--advanced-filter: want KEY OPERATOR VALUE ..."}
	}
	filter := body{"key": words[0], "operatorType": words[1]}
	op, ok := eventing.FindOperator(words[1])
	if !ok {
		return filter, nil // the daemon says which ones there are
	}
	filter["operatorType"] = op.Name
	values := []any{}
	for _, word := range words[2:] {
		v, err := filterValue(op, word)
		if err != nil {
			return nil, &usageError{fmt.Sprintf("--advanced-filter %s %s: %v", words[0], words[1], err)}
		}
		values = append(values, v)
	}
	switch {
	case op.Single && len(values) == 1:
		filter["value"] = values[0]
	case len(values) > 0:
		filter["values"] = values
	}
	return filter, nil
}

// filterValue reads a value of the kind that the operator compares. A range is
// LOW,HIGH.
func filterValue(op eventing.Operator, word string) (any, error) {
	switch op.Of {
	case eventing.OfNumbers:
		return number(word)
	case eventing.OfBools:
		b, err := strconv.ParseBool(strings.ToLower(word))
		if err != nil {
			return nil, fmt.Errorf("%q is neither true nor false", word)
		}
		return b, nil
	case eventing.OfRanges:
		low, high, ok := strings.Cut(word, ",")
		if !ok {
			return nil, fmt.Errorf("%q is not a range such as 5,10", word)
		}
		from, err := number(low)
		if err != nil {
			return nil, err
		}
		to, err := number(high)
		return []float64{from, to}, err
	case eventing.NoValue:
		return nil, fmt.Errorf("%s has no values", op.Name)
	}
	return word, nil
}

func number(word string) (float64, error) {
	n, err := strconv.ParseFloat(strings.TrimSpace(word), 64)
	if err != nil {
		return 0, fmt.Errorf("%q is not a number", word)
	}
	return n, nil
}

// attributeMapping reads NAME static VALUE [SECRET] or NAME dynamic FIELD.
func attributeMapping(words []string) (body, error) {
	const want = "--delivery-attribute-mapping: want NAME static VALUE [true], or NAME dynamic FIELD"
	if len(words) < 3 {
		return nil, &usageError{want}
	}
	switch name := words[0]; {
	case strings.EqualFold(words[1], "dynamic") && len(words) == 3:
		return body{"name": name, "type": "Dynamic", "properties": body{"sourceField": words[2]}}, nil
	case strings.EqualFold(words[1], "static") && len(words) <= 4:
		value, err := fromFile(words[2])
		if err != nil {
			return nil, err
		}
		secret := false
		if len(words) == 4 {
			if secret, err = strconv.ParseBool(strings.ToLower(words[3])); err != nil {
				return nil, &usageError{want}
			}
		}
		return body{"name": name, "type": "Static", "properties": body{"value": value, "isSecret": secret}}, nil
	}
	return nil, &usageError{want}
}

// endpointType is what an endpoint looks like.
func endpointType(endpoint string) eventing.DestinationType {
	lower := strings.ToLower(endpoint)
	for part, kind := range map[string]eventing.DestinationType{
		"amqp:": eventing.ToAMQP, "amqps:": eventing.ToAMQP, "nats:": eventing.ToNATS, "natss:": eventing.ToNATS, "tls:": eventing.ToNATS,
		"kafka:": eventing.ToKafka, "kafkas:": eventing.ToKafka,
		"file:": eventing.ToFolder, "task:": eventing.ToTask,
	} {
		if strings.HasPrefix(lower, part) {
			return kind
		}
	}
	if strings.HasPrefix(lower, "/") {
		for part, kind := range map[string]eventing.DestinationType{
			"/queueservices/": eventing.ToStorageQueue, "/blobservices/": eventing.ToStorageBlob, "/eventhubs/": eventing.ToEventHub, "/sites/": eventing.ToAzureFunction,
			"/namespaces/": eventing.ToServiceBusQueue, "/tasks/": eventing.ToTask,
		} {
			if strings.Contains(lower, part) && (kind != eventing.ToServiceBusQueue || strings.Contains(lower, "/queues/")) {
				return kind
			}
		}
		if strings.Contains(lower, "/topics/") {
			return eventing.ToServiceBusTopic
		}
	}
	return eventing.ToWebHook
}

// endpointProperties say where an endpoint is: by its address, or by Azure's
// resource id, of which queues and containers are the last word.
func endpointProperties(kind, endpoint string) body {
	switch {
	case strings.EqualFold(kind, string(eventing.ToTask)) && !strings.HasPrefix(endpoint, "/"):
		return body{"endpointUrl": "task:" + strings.TrimPrefix(endpoint, "task:"), "resourceId": nil}
	case !strings.HasPrefix(endpoint, "/"):
		return body{"endpointUrl": endpoint, "resourceId": nil}
	}
	p := body{"resourceId": endpoint, "endpointUrl": nil}
	for service, property := range map[string]string{"/queueservices/default/queues/": "queueName", "/blobservices/default/containers/": "blobContainerName"} {
		if i := strings.Index(strings.ToLower(endpoint), service); i >= 0 {
			p["resourceId"], p[property] = endpoint[:i], endpoint[i+len(service):]
		}
	}
	return p
}
