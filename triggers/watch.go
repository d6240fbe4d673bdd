package triggers

import (
	"encoding/json"
	"time"
)

// A Watch is something elsewhere that is looked at again and again: a
// repository, an image. Several daemons share the looking: whoever claims a
// watch has it until it is saved, or the lease is over.
type Watch struct {
	ID string
	// Doc is what the owner of the watch knows. It is kept sealed.
	Doc json.RawMessage
	// Next is when somebody should look.
	Next time.Time
	// Claim proves to SaveWatch that the watch is still the caller's.
	Claim string
}

// A Base is an image that a task's last successful build was built on. Role
// is BuildTime or RunTime.
type Base struct {
	Task, Ref, Platform, Role, Digest, Run string
	// Scanned is when the task was saved in whose source the base was found,
	// if no build has confirmed it since. Then there is no Run, and Digest is
	// what was there at that time: empty until somebody has looked, and absent
	// if there was nothing.
	Scanned time.Time
}

// absent is the digest of what is not there.
const absent = "absent"
