package eventing

import "time"

// Health is how the receiver of a subscription does. While it is on probation
// nothing is delivered to it. When that is over, one delivery is tried: if it
// fails, probation begins anew.
type Health struct {
	// Failures are events that could not be delivered since the last one that
	// could. One that fails again and again has a schedule of its own.
	Failures int `json:",omitempty"`
	// Until is the end of probation; Outcome is why it began.
	Until   time.Time `json:",omitzero"`
	Outcome Outcome   `json:",omitempty"`
}

// tooMany is the number of failures that probation begins with.
const tooMany = 10

// probation says for how long, as Event Grid does.
func probation(o Outcome) time.Duration {
	switch o {
	case SocketError:
		return 30 * time.Second
	case NotFound, ResolutionError, Disabled, Full, Unauthorized, Forbidden, InvalidConfigure:
		return 5 * time.Minute
	default: // Busy, TimedOut
		return 10 * time.Second
	}
}

// sick says that the receiver is on probation, or has only the one delivery
// that ends it.
func (h Health) sick() bool { return !h.Until.IsZero() }

// after is the health after an attempt that has ended at now. Another says that
// the event had not failed before, since one was delivered.
func (h Health) after(err *DeliveryError, another bool, now time.Time) Health {
	if err == nil || err.Outcome == BadRequest || err.Outcome == PayloadTooLarge {
		return Health{} // it is there, and has an opinion of the event
	}
	if another {
		h.Failures++
	}
	wait := time.Duration(0)
	if h.sick() || h.Failures >= tooMany {
		wait = probation(err.Outcome)
	}
	wait = max(wait, min(err.RetryAfter, DefaultTTL))
	if until := now.Add(wait); wait > 0 && until.After(h.Until) {
		h.Until, h.Outcome = until, err.Outcome
	}
	return h
}
