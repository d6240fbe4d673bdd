package sinks

import (
	"encoding/json"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"testing"
	"time"

	"acrd/eventing"
	"acrd/internal/sinks/sinktest"
)

func fileURL(dir string) string { return (&url.URL{Scheme: "file", Path: dir}).String() }

func deadLetter(id string) eventing.Delivery {
	e := sinktest.Event(id)
	e.Dead = &eventing.Death{
		Reason: eventing.TooManyAttempts, Attempts: 3, Outcome: eventing.TimedOut,
		Published: e.Time, Tried: time.Date(2019, 8, 8, 5, 59, 59, 0, time.UTC),
	}
	return sinktest.Delivery(eventing.EventGridSchema, e)
}

func TestFolder(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "dead letters")
	sink := mustOpen(t, eventing.Destination{Type: eventing.ToFolder, URL: fileURL(dir), Trusted: true}, "")
	for _, id := range []string{"e1", "e2", "e1"} { // one is repeated
		if _, err := sink.Deliver(t.Context(), deadLetter(id)); err != nil {
			t.Fatal(err)
		}
	}
	name := regexp.MustCompile(`^MYSUB/2019/8/8/5/[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\.json$`)
	found := 0
	err := fs.WalkDir(os.DirFS(dir), ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		found++
		if !name.MatchString(path) {
			t.Errorf("dead letter %s", path)
		}
		b, err := os.ReadFile(filepath.Join(dir, path))
		if err != nil {
			return err
		}
		var letters []struct {
			ID, DeadLetterReason, LastDeliveryOutcome string
			DeliveryAttempts                          int
		}
		if err := json.Unmarshal(b, &letters); err != nil || len(letters) != 1 ||
			letters[0].DeadLetterReason != "MaxDeliveryAttemptsExceeded" || letters[0].DeliveryAttempts != 3 || letters[0].LastDeliveryOutcome != "TimedOut" {
			t.Errorf("dead letter %s: %v", b, err)
		}
		return nil
	})
	if err != nil || found != 2 {
		t.Errorf("%d dead letters, %v; want 2", found, err)
	}
}

// TestFolderInTheWay is about a folder that cannot be made.
func TestFolderInTheWay(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	sink := mustOpen(t, eventing.Destination{Type: eventing.ToFolder, URL: fileURL(file), Trusted: true}, "")
	if _, err := sink.Deliver(t.Context(), deadLetter("e1")); outcome(err) != eventing.Busy {
		t.Errorf("%v (%s), want %s", err, outcome(err), eventing.Busy)
	}
}

// A subscription's name is not a way out of the folder.
func TestFolderOutside(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a")
	sink := mustOpen(t, eventing.Destination{Type: eventing.ToFolder, URL: fileURL(dir), Trusted: true}, "")
	d := deadLetter("e1")
	d.Subscription = "../../x"
	if _, err := sink.Deliver(t.Context(), d); err == nil {
		t.Error("written outside")
	}
}
