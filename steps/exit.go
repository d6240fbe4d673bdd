package steps

import (
	"errors"
	"slices"
)

// Succeeded says whether a container that ended with a code has done what the
// step is for. Without exitedWith and exitedWithout that is code 0, as on ACR.
// exitedWith lists the codes that are a success, and no other is;
// exitedWithout lists those that are a failure, and every other is a success
// unless exitedWith says otherwise.
func (s *Step) Succeeded(code int) bool {
	if len(s.ExitedWith) == 0 && len(s.ExitedWithout) == 0 {
		return code == 0
	}
	return !slices.Contains(s.ExitedWithout, code) && (len(s.ExitedWith) == 0 || slices.Contains(s.ExitedWith, code))
}

// judge is what an attempt's error means to a step that has a word on exit
// codes. A container that did not run to its end has failed in any case.
func (s *Step) judge(err error) error {
	if _, container := s.Do.(*Cmd); !container || s.Detach {
		return err
	}
	exit, ended := errors.AsType[*ExitError](err)
	switch {
	case ended && s.Succeeded(exit.Code):
		return nil
	case err == nil && !s.Succeeded(0):
		return &ExitError{Code: 0, Reason: "which exitedWith and exitedWithout make a failure"}
	}
	return err
}
