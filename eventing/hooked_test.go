package eventing_test

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"acrd/eventing"
)

// TestWebhooks delivers to webhooks: what they want, once more if it was not
// taken, and a ping whatever they want, once.
func TestWebhooks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		defer b.close()
		var told []eventing.Delivery
		r := &receiver{answer: func(d eventing.Delivery) error {
			told = append(told, d)
			if len(told) == 1 || d.Events[0].Type == eventing.WebhookPing {
				return status(500, eventing.Aborted)(d)
			}
			return nil
		}}
		b.receivers["http://hook"] = r
		change := func(disabled bool) {
			t.Helper()
			hook := &eventing.Hook{Actions: []string{"push", "delete"}, Scope: "app:v1", TagsOnDelete: true, Disabled: disabled}
			err := b.db.ChangeSubscription(t.Context(), eventing.Webhook, "hook1", func(*eventing.Subscription) (*eventing.Subscription, error) {
				return &eventing.Subscription{
					Kind: eventing.Webhook, Name: "hook1", State: eventing.Succeeded, Schema: eventing.WebhookSchema, Hook: hook, InFlight: 1,
					Destination: eventing.Destination{Type: eventing.ToWebHook, URL: "http://hook"},
				}, nil
			})
			if err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Second)
			synctest.Wait()
		}
		change(false)
		start := time.Now()
		at := func(what string, target eventing.Target) eventing.Event {
			return eventing.NewRegistryEvent(what, time.Now(), target, eventing.Origin{})
		}
		push := at(eventing.ImagePushed, eventing.Target{Repository: "app", Tag: "v1"})
		deleted := at(eventing.ImageDeleted, eventing.Target{Repository: "app", Tags: []string{"v1", "v2"}})
		publish := func(events ...eventing.Event) {
			t.Helper()
			if err := b.db.AddEvents(t.Context(), events...); err != nil {
				t.Fatal(err)
			}
			time.Sleep(20 * time.Second)
			synctest.Wait()
		}
		publish(push, at(eventing.ImagePushed, eventing.Target{Repository: "app", Tag: "v2"}), at(eventing.ImageUntagged, eventing.Target{Repository: "app", Tag: "v1"}))
		same(t, "attempts", r.ids(), []string{push.ID, push.ID})
		same(t, "their times", r.since(start), []string{"0s", "10s"})
		publish(deleted)
		body, contentType, err := eventing.EncodeBatch(told[2])
		if err != nil || contentType != "application/json" || !strings.HasSuffix(string(body), `"action":"delete","target":{"repository":"app","tags":["v1","v2"]}}`) {
			t.Errorf("deletion is told as %s %s, %v", contentType, body, err)
		}
		change(true)
		publish(at(eventing.ImagePushed, eventing.Target{Repository: "app", Tag: "v1"}))
		ping := eventing.Ping(time.Now())
		if err := b.d.Enqueue(t.Context(), eventing.Webhook, "HOOK1", ping); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		if err := b.d.Redeliver(t.Context(), eventing.Webhook, "hook1", push.ID); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		synctest.Wait()
		same(t, "all attempts", r.ids(), []string{push.ID, push.ID, deleted.ID, ping.ID, push.ID})
		history, err := b.db.History(t.Context(), eventing.Webhook, "hook1", 100)
		if err != nil || len(history) != 5 || history[4].Outcome != eventing.Aborted || history[4].Next.IsZero() || history[1].Event.ID != ping.ID || history[1].Outcome != eventing.Aborted || !history[1].Next.IsZero() {
			t.Errorf("history %+v, %v", history, err)
		}
	})
}
