package runner

import "time"

// A Filter chooses runs. Its zero value is all of them.
type Filter struct {
	Task     string
	Type     Type
	Statuses []Status
	Archived *bool
	// Image is an image that the run pushed, as repository:tag or
	// repository@digest, with or without its registry.
	Image string
	// CreatedFrom and the like bound times: From counts, To does not.
	CreatedFrom, CreatedTo   time.Time
	FinishedFrom, FinishedTo time.Time
	// Before is a run id: only older runs count. It is how one pages.
	Before string
	// Limit is how many; 0 is all.
	Limit int
}
