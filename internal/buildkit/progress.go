package buildkit

import (
	"context"
	"encoding/json"
	"fmt"
	"io"

	"github.com/moby/buildkit/client"
	"github.com/moby/buildkit/util/progress/progressui"
)

// show writes a build's progress as plain lines to out, and as JSON lines to
// raw if that is not nil. It returns when statuses is closed.
func show(ctx context.Context, statuses <-chan *client.SolveStatus, out, raw io.Writer) error {
	display, err := progressui.NewDisplay(out, progressui.PlainMode)
	if err != nil {
		for range statuses { //nolint:revive // whoever sends must not block
		}
		return fmt.Errorf("progress: %w", err)
	}
	forked := make(chan *client.SolveStatus)
	go func() {
		defer close(forked)
		encoder := json.NewEncoder(orDiscard(raw))
		for s := range statuses {
			_ = encoder.Encode(s)
			forked <- s
		}
	}()
	_, err = display.UpdateFrom(context.WithoutCancel(ctx), forked)
	return err
}

func orDiscard(w io.Writer) io.Writer {
	if w == nil {
		return io.Discard
	}
	return w
}
