package acr

import "time"

// Policies are how a registry treats what is pushed, as its resource has them.
type Policies struct {
	// Quarantine keeps images that are new from being pulled by a tag, until
	// they are released.
	Quarantine Policy `json:"quarantinePolicy"`
	// SoftDelete keeps what is deleted for a while.
	SoftDelete SoftDelete `json:"softDeletePolicy"`
	// Retention deletes manifests that have had no tag for a while.
	Retention Retention `json:"retentionPolicy"`
}

// Since notes in policies when they were changed last, after they were before.
func (p Policies) Since(before Policies, now time.Time) Policies {
	if p.SoftDelete != before.SoftDelete {
		p.SoftDelete.Updated = now
	}
	if p.Retention != before.Retention {
		p.Retention.Updated = now
	}
	return p
}

// SoftDelete is a policy with a time.
type SoftDelete struct {
	Policy
	RetentionDays int       `json:"retentionDays"` // 1 to 90
	Updated       time.Time `json:"lastUpdatedTime,omitzero"`
}

// Retention is a policy with a time. As ACR's, it spares what has changed last
// before it was switched on.
type Retention struct {
	Policy
	Days    int       `json:"days"` // 0 to 365
	Updated time.Time `json:"lastUpdatedTime,omitzero"`
}

// A Policy is on or off.
type Policy struct {
	Status string `json:"status"` // PolicyEnabled or PolicyDisabled
}

// The states of a policy.
const (
	PolicyEnabled  = "enabled"
	PolicyDisabled = "disabled"
)

// NoPolicies is what a registry has until somebody says otherwise.
func NoPolicies() Policies {
	off := Policy{PolicyDisabled}
	return Policies{Quarantine: off, SoftDelete: SoftDelete{Policy: off, RetentionDays: 7}, Retention: Retention{Policy: off, Days: 7}}
}

// Enabled says that the policy is on.
func (p Policy) Enabled() bool { return p.Status == PolicyEnabled }

// The states of a manifest that a policy has quarantined.
const (
	Quarantined      = "Quarantined"
	QuarantinePassed = "Passed"
	QuarantineFailed = "Failed"
)
