package eventing

import (
	"net/http"
	"time"
)

// schedule is Event Grid's: the time from a failed attempt to the next.
var schedule = [...]time.Duration{
	10 * time.Second, 30 * time.Second, time.Minute, 5 * time.Minute, 10 * time.Minute, 30 * time.Minute, time.Hour, 3 * time.Hour, 6 * time.Hour,
	12 * time.Hour, // and so on
}

// Event Grid's defaults, and most.
const (
	DefaultAttempts = 30
	DefaultTTL      = 24 * time.Hour
)

func (r Retry) attempts() int {
	if r.MaxAttempts <= 0 {
		return DefaultAttempts
	}
	return r.MaxAttempts
}

func (r Retry) ttl() time.Duration {
	if r.TTL <= 0 {
		return DefaultTTL
	}
	return r.TTL
}

// expired is asked when an attempt is due, and at no other time: so does Event
// Grid.
func (r Retry) expired(q *Queued, now time.Time) bool { return now.Sub(q.Queued) > r.ttl() }

// A verdict is what is to be done about an attempt.
type verdict struct {
	answer Answer
	after  time.Duration // for AnswerRetry
	reason Reason        // for AnswerDead
}

// judge says what is done about an attempt, the n-th of q, that has ended at
// now. jitter lengthens a delay a little.
func (s *Subscription) judge(q *Queued, err *DeliveryError, now time.Time, jitter func(time.Duration) time.Duration) verdict {
	if err == nil {
		return verdict{answer: AnswerDelivered}
	}
	switch s.answer(err) {
	case AnswerDelivered:
		return verdict{answer: AnswerDelivered}
	case AnswerDead:
		return verdict{answer: AnswerDead, reason: Undeliverable + Reason(err.Outcome)}
	}
	if q.Attempts >= s.Retry.attempts() {
		return verdict{answer: AnswerDead, reason: TooManyAttempts}
	}
	after := jitter(max(schedule[min(q.Attempts, len(schedule))-1], floor(err)))
	if asked := min(err.RetryAfter, q.Queued.Add(s.Retry.ttl()).Sub(now)); asked > after {
		after = asked
	}
	return verdict{answer: AnswerRetry, after: after}
}

// answer is what a failure means for whether to try again.
func (s *Subscription) answer(err *DeliveryError) Answer {
	if a, ok := s.Statuses[err.Status]; ok && err.Status != 0 {
		return a
	}
	switch {
	case err.Gone: // the queue waits for whoever enables the subscription again
	case err.Outcome == BadRequest, err.Outcome == PayloadTooLarge:
		return AnswerDead
	case err.Outcome == Forbidden && err.Status == http.StatusForbidden: // Azure Storage says 403 of a key that is another by now
		return AnswerDead
	case err.Outcome == Unauthorized && s.Destination.Type == ToWebHook:
		return AnswerDead
	}
	return AnswerRetry
}

// floor is the least time before the next attempt.
func floor(err *DeliveryError) time.Duration {
	switch err.Status {
	case http.StatusUnauthorized, http.StatusNotFound:
		return 5 * time.Minute
	case http.StatusRequestTimeout:
		return 2 * time.Minute
	case http.StatusServiceUnavailable:
		return 30 * time.Second
	}
	switch {
	case err.Gone:
	case err.Outcome == Unauthorized, err.Outcome == Disabled, err.Outcome == InvalidConfigure,
		err.Status == 0 && (err.Outcome == Forbidden || err.Outcome == NotFound):
		return 5 * time.Minute
	}
	return schedule[0]
}
