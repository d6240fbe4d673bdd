package stepstest

import "testing"

func TestMemory(t *testing.T) {
	TestEngine(t, func(*testing.T) *Bench {
		return &Bench{Session: NewMemory(), Image: Base, Tag: func(name string) string { return name }}
	})
}
