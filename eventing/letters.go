package eventing

import (
	"context"
	"reflect"
	"time"
)

const (
	// lettersAtOnce bounds what is written to where dead letters go at a time.
	lettersAtOnce = 100
	// giveUp is how long that is tried, as Event Grid does.
	giveUp = 4 * time.Hour
	// lettersRetry is the pause after a failure.
	lettersRetry = time.Minute
)

// tellLetters says that there may be dead letters to be written. Anybody may
// call it.
func (q *queue) tellLetters() {
	select {
	case q.letters <- struct{}{}:
	default:
	}
}

// serveLetters writes the dead letters of a queue until ctx has ended. It runs
// beside serve: a folder or a container that hangs delays no delivery.
func (q *queue) serveLetters(ctx context.Context) {
	w := &lettersWriter{queue: q}
	defer w.close()
	timer := time.NewTimer(longest)
	defer timer.Stop()
	for {
		wait, err := w.once(ctx, time.Now())
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			q.Log.Warn("dead letters are not written", "subscription", q.current.Load().Name, "err", err)
			wait = lettersRetry
		}
		timer.Reset(wait)
		select {
		case <-q.letters:
		case <-timer.C:
		case <-q.quit:
			return
		case <-ctx.Done():
			return
		}
	}
}

type lettersWriter struct {
	*queue
	sink   Sink
	opened *Destination
}

func (w *lettersWriter) close() {
	if w.sink != nil {
		_ = w.sink.Close() // what it has said of each delivery stands
	}
	w.sink, w.opened = nil, nil
}

// once writes what is due, and says when to come again.
func (w *lettersWriter) once(ctx context.Context, now time.Time) (time.Duration, error) {
	r := w.current.Load()
	letters, err := w.Store.DueDead(ctx, r.Seq, lettersAtOnce)
	if err != nil || len(letters) == 0 {
		return longest, err
	}
	due := 0
	for due < len(letters) && !letters[due].Due.After(now) {
		due++
	}
	if due == 0 {
		return letters[0].Due.Sub(now), nil
	}
	return 0, w.write(ctx, r, letters[:due], now)
}

func (w *lettersWriter) write(ctx context.Context, r *Subscriber, letters []DeadLetter, now time.Time) error {
	if r.DeadLetter == nil {
		return w.bury(ctx, r, letters)
	}
	d, err := w.delivery(ctx, r, letters)
	if err != nil {
		return err
	}
	if len(d.Events) > 0 {
		err = w.deliver(ctx, *r.DeadLetter, d)
	}
	if err == nil {
		return w.bury(ctx, r, letters)
	}
	var late []DeadLetter
	for _, l := range letters {
		if now.Sub(l.Due) > giveUp {
			late = append(late, l)
		}
	}
	if len(late) > 0 {
		w.Log.Error("dead letters are given up", "subscription", r.Name, "events", len(late), "err", err)
		if e := w.bury(ctx, r, late); e != nil {
			return e
		}
	}
	return err
}

func (w *lettersWriter) bury(ctx context.Context, r *Subscriber, letters []DeadLetter) error {
	ids := make([]int64, len(letters))
	for i := range letters {
		ids[i] = letters[i].Seq
	}
	return w.Store.BuryDead(ctx, w.owner, r.Seq, ids)
}

func (w *lettersWriter) delivery(ctx context.Context, r *Subscriber, letters []DeadLetter) (Delivery, error) {
	seqs := make([]int64, len(letters))
	for i := range letters {
		seqs[i] = letters[i].Event
	}
	stored, err := w.Store.Stored(ctx, seqs)
	if err != nil {
		return Delivery{}, err
	}
	events := map[int64]*Stored{}
	for i := range stored {
		events[stored[i].Seq] = &stored[i]
	}
	d := Delivery{Subscription: r.Name, Schema: r.Schema, Registry: w.Registry}
	for _, l := range letters {
		if e := events[l.Event]; e != nil {
			death := &Death{Reason: l.Reason, Attempts: l.Attempts, Outcome: l.Outcome, Published: e.Time, Tried: l.Tried}
			d.Events = append(d.Events, Attempted{Event: e.Event, Count: l.Attempts, Dead: death})
		}
	}
	return d, nil
}

func (w *lettersWriter) deliver(ctx context.Context, to Destination, d Delivery) error {
	if w.opened == nil || !reflect.DeepEqual(*w.opened, to) {
		w.close()
		sink, err := w.Open(to)
		if err != nil {
			return err
		}
		w.sink, w.opened = sink, &to
	}
	sink, ended := w.sink, make(chan error, 1)
	go func() {
		_, err := sink.Deliver(ctx, d)
		ended <- err
	}()
	select {
	case err := <-ended:
		return err
	case <-w.abandoned:
		return errShutdown
	}
}
