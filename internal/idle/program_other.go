//go:build !linux

package idle

func dropProgram() {}
