package eventing

import (
	"encoding/json"
	"time"
)

// A Draft is an event about a change that is about to be made where no
// transaction reaches, such as in the files of a registry. It is kept before
// the change, and settled after it. Who crashes between finds it again, and
// looks by Check whether the change was made.
type Draft struct {
	Event Event
	// Check is for whoever makes the change.
	Check json.RawMessage
	// At is when it was kept.
	At time.Time
}

// Settled is what has become of a draft: if it has Happened, its event is told.
type Settled struct {
	Draft
	Happened bool
}
