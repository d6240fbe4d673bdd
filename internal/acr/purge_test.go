package acr

import (
	"errors"
	"runtime"
	"slices"
	"sync"
	"testing"
)

// The goroutine that purges may be bound to its thread, as that of main is:
// what it begins is done by others.
func TestEach_BoundThread(t *testing.T) {
	t.Parallel()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var mu sync.Mutex
	var got []int
	err := each(t.Context(), 2, []int{1, 2, 3, 4, 5}, func(n int) error {
		mu.Lock()
		defer mu.Unlock()
		got = append(got, n)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if slices.Sort(got); !slices.Equal(got, []int{1, 2, 3, 4, 5}) {
		t.Errorf("done: %v", got)
	}
}

func TestEach_FirstError(t *testing.T) {
	t.Parallel()
	wrong := errors.New("wrong")
	var done int
	err := each(t.Context(), 1, []int{1, 2, 3}, func(n int) error {
		done++
		if n == 2 {
			return wrong
		}
		return nil
	})
	if !errors.Is(err, wrong) || done != 2 {
		t.Errorf("%d done, error %v", done, err)
	}
}
