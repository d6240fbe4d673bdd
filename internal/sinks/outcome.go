package sinks

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"

	"acrd/eventing"
	"acrd/internal/address"
)

// failed says what became of a delivery that ended in err, if no SDK has a
// better word for it.
func failed(operation string, err error) *eventing.DeliveryError {
	return failedAs(outcome(err), operation, err)
}

func failedAs(o eventing.Outcome, operation string, err error) *eventing.DeliveryError {
	if e := (*url.Error)(nil); errors.As(err, &e) {
		err = e.Err // the rest tells the whole URL
	}
	return &eventing.DeliveryError{Outcome: o, Err: fmt.Errorf("%s: %w", operation, err)}
}

// invalid is about a destination that no delivery can reach as it is.
func invalid(err error) *eventing.DeliveryError {
	return &eventing.DeliveryError{Outcome: eventing.InvalidConfigure, Err: err}
}

// outcome finds Event Grid's word for an error of the network.
func outcome(err error) eventing.Outcome {
	known, dns, timeout := (*eventing.DeliveryError)(nil), (*net.DNSError)(nil), net.Error(nil)
	switch {
	case errors.As(err, &known):
		return known.Outcome
	case errors.Is(err, address.ErrDenied):
		return eventing.Forbidden
	case errors.Is(err, context.Canceled):
		return eventing.Canceled
	case errors.As(err, &dns):
		return eventing.ResolutionError
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		return eventing.TimedOut
	}
	return eventing.SocketError
}
