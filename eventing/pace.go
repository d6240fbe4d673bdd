package eventing

import "time"

// pace spreads deliveries evenly over a minute, as many as the receiver allows.
type pace struct{ next time.Time }

// take says whether a delivery may begin now. A rate of 0 allows any number.
func (p *pace) take(perMinute int, now time.Time) bool {
	if perMinute <= 0 {
		p.next = time.Time{}
		return true
	}
	if now.Before(p.next) {
		return false
	}
	p.next = now.Add(time.Minute / time.Duration(perMinute))
	return true
}
