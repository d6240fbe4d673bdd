package eventing

import (
	"context"
	"errors"
	"time"
)

// A job is a delivery that is to be done.
type job struct {
	sink  Sink
	d     Delivery
	batch []*item
	began time.Time
}

// A result is what has become of one.
type result struct {
	job
	exchange *Exchange
	err      error
	cut      bool // the queue ended before it was answered
}

// deliver begins a delivery. Goroutines that deliver stay for as long as there
// is something to do: under load a new one for each would spend its time on
// growing its stack.
func (q *queue) deliver(ctx context.Context, batch []*item) {
	q.inFlight++
	d := Delivery{
		Subscription: q.sub.Name, Schema: q.sub.Schema, Registry: q.Registry, Events: make([]Attempted, len(batch)),
		Quiet: !q.sample.take(time.Now()), Tags: q.sub.Hook != nil && q.sub.Hook.TagsOnDelete,
	}
	for i, it := range batch {
		d.Events[i] = Attempted{Event: it.event.Event, Count: it.Attempts}
		if i == 0 || !q.sub.Destination.Type.isHTTP() { // one request has one set of headers
			d.Events[i].Attributes = q.sub.values(&it.event.Event, q.Registry)
		}
	}
	if q.hands < q.inFlight {
		q.hands++
		go q.do(ctx, q.jobs)
	}
	q.jobs <- job{q.sink, d, batch, time.Now()} // somebody is free, or about to be
}

// do delivers until there are no more jobs.
func (q *queue) do(ctx context.Context, jobs <-chan job) {
	for j := range jobs {
		exchange, err := j.sink.Deliver(ctx, j.d)
		select {
		case q.results <- result{j, exchange, err, cutOff(ctx, err)}:
		case <-q.abandoned:
		}
	}
}

// dismiss lets those go who have nothing to deliver.
func (q *queue) dismiss() {
	close(q.jobs)
	q.jobs, q.hands = make(chan job), 0
}

// cutOff says that a delivery failed because its queue has ended, and not by an
// answer. That of an HTTP endpoint is one, whenever it came.
func cutOff(ctx context.Context, err error) bool {
	e, ok := errors.AsType[*DeliveryError](err)
	return err != nil && ctx.Err() != nil && (!ok || e.Status == 0)
}

// asDeliveryError gives every failure an outcome.
func asDeliveryError(err error) *DeliveryError {
	if err == nil {
		return nil
	}
	if e, ok := errors.AsType[*DeliveryError](err); ok {
		return e
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return &DeliveryError{Outcome: TimedOut, Err: err}
	}
	return &DeliveryError{Outcome: Aborted, Err: err}
}
