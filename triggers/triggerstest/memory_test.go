package triggerstest

import (
	"testing"
	"time"

	"acrd/runner"
)

// memory is a Memory as the suite wants it.
type memory struct{ *Memory }

func (m memory) SaveTimers(_ *testing.T, task string, timers ...runner.TimerTrigger) {
	m.Memory.SaveTimers(task, time.Now().UTC(), timers...)
}

func (m memory) StartRun(t *testing.T, task string, keys ...string) (string, func()) {
	if err := m.Memory.StartRun(t.Context(), "ca1", task, keys...); err != nil {
		t.Fatal(err)
	}
	return "ca1", func() { m.EndRun("ca1") }
}

func TestMemory(t *testing.T) {
	TestTimers(t, func(*testing.T) Store { return memory{new(Memory)} })
}
