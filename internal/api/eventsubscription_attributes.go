package api

import (
	"fmt"
	"slices"
	"strings"

	"acrd/eventing"
)

// Event Grid's limits on attributes.
const (
	maxAttributes     = 10
	maxAttributeValue = 4096
)

// attributes reads those of a destination. A secret one without a value keeps
// the one that it had.
func (r *eventReader) attributes(at string, all []DeliveryAttribute, old *eventing.Destination) []eventing.Attribute {
	if len(all) > maxAttributes {
		r.fault(at, "There are %d, and %d are allowed.", len(all), maxAttributes)
	}
	var read []eventing.Attribute
	for i, told := range all {
		at := fmt.Sprintf("%s[%d]", at, i)
		if slices.ContainsFunc(read, func(a eventing.Attribute) bool { return strings.EqualFold(a.Name, told.Name) }) {
			r.fault(at+".name", "'%s' is there twice.", told.Name)
		}
		read = append(read, r.attribute(at, told, old))
	}
	return read
}

func (r *eventReader) attribute(at string, told DeliveryAttribute, old *eventing.Destination) eventing.Attribute {
	a := eventing.Attribute{Name: told.Name, Secret: told.Properties.IsSecret}
	switch {
	case strings.EqualFold(told.Type, DynamicAttribute):
		a.Field, a.Secret = told.Properties.SourceField, false
		if a.Field == "" {
			r.fault(at+".properties.sourceField", "It is missing.")
		}
	case !strings.EqualFold(told.Type, StaticAttribute):
		r.fault(at+".type", "'%s' is not one of Static, Dynamic.", told.Type)
	case told.Properties.Value != nil:
		a.Value = *told.Properties.Value
	default:
		var kept bool
		if a.Value, kept = keptValue(a, old); !kept {
			r.fault(at+".properties.value", "It is missing.")
		}
	}
	if strings.HasPrefix(strings.ToLower(a.Name), "aeg-") {
		r.fault(at+".name", "'%s' begins with aeg-, which is Event Grid's.", a.Name)
	} else if err := checkHeader(a.Name, a.Value); err != nil {
		r.fault(at+".name", "'%s' %v.", a.Name, err)
	}
	if len(a.Value) > maxAttributeValue {
		r.fault(at+".properties.value", "It is longer than %d bytes.", maxAttributeValue)
	}
	return a
}

// keptValue is what a secret attribute had.
func keptValue(a eventing.Attribute, old *eventing.Destination) (string, bool) {
	if old == nil || !a.Secret {
		return "", false
	}
	i := slices.IndexFunc(old.Attributes, func(o eventing.Attribute) bool { return o.Secret && strings.EqualFold(o.Name, a.Name) })
	if i < 0 {
		return "", false
	}
	return old.Attributes[i].Value, true
}

// checkBrokerNames refuses what Service Bus cannot have together.
func (r *eventReader) checkBrokerNames(at string, d *eventing.Destination) {
	if d.Type != eventing.ToServiceBusQueue && d.Type != eventing.ToServiceBusTopic {
		return
	}
	has := func(name string) bool {
		return slices.ContainsFunc(d.Attributes, func(a eventing.Attribute) bool { return strings.EqualFold(a.Name, name) })
	}
	if has("SessionId") && has("MessageId") {
		r.fault(at, "SessionId and MessageId cannot both be set.")
	}
}
