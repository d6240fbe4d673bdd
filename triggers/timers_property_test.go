package triggers_test

import (
	"os"
	"strconv"
	"testing"
	"time"

	"acrd/runner"
	"acrd/triggers"
	"acrd/triggers/triggerstest"
)

// seeds is how many simulations TestTimersProperty makes; ACRD_SEEDS says
// another number.
func seeds() int {
	if n, err := strconv.Atoi(os.Getenv("ACRD_SEEDS")); err == nil {
		return n
	}
	return 400
}

type simulated struct{ *triggerstest.Memory }

func (s simulated) SaveTimers(_ *testing.T, task string, timers ...runner.TimerTrigger) {
	s.Memory.SaveTimers(task, time.Now().UTC(), timers...)
}

func (s simulated) All(*testing.T, string) []triggers.Settled { return s.Memory.All() }

func TestTimersProperty(t *testing.T) {
	for seed := range seeds() {
		triggerstest.Simulate(t, uint64(seed), func(*testing.T) triggerstest.SimulatedStore { return simulated{new(triggerstest.Memory)} })
	}
}
