package buildkit

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"github.com/moby/buildkit/client"
	"github.com/moby/buildkit/util/progress/progressui"
)

// show writes a build's progress as plain lines to out, and as JSON lines to
// raw if that is not nil, with the names of the engine's store replaced by
// those that people gave. It returns when statuses is closed.
func show(ctx context.Context, statuses <-chan *client.SolveStatus, names *strings.Replacer, out, raw io.Writer) error {
	display, err := progressui.NewDisplay(out, progressui.PlainMode)
	if err != nil {
		for range statuses {
		}
		return fmt.Errorf("progress: %w", err)
	}
	forked := make(chan *client.SolveStatus)
	go func() {
		defer close(forked)
		encoder := json.NewEncoder(orDiscard(raw))
		pass := func(s *client.SolveStatus) {
			_ = encoder.Encode(s)
			forked <- s
		}
		var o order
		for s := range statuses {
			o.put(s)
			rename(s, names)
			pass(s)
		}
		if len(o.ends) > 0 {
			pass(&client.SolveStatus{Vertexes: o.ends})
		}
	}()
	_, err = display.UpdateFrom(context.WithoutCancel(ctx), forked)
	return err
}

// order holds back that a vertex is done until all of its output is there. A
// display that hears of the end first breaks the output in the middle of a
// line.
//
// BuildKit sends what happened since the last time as one message, unless the
// output in it is more than partSize: then the rest of the output follows in
// messages that hold nothing else, and one that holds nothing is their end.
type order struct {
	split bool
	ends  []*client.Vertex
}

const (
	partSize = 1 << 20
	// logOverhead is more than BuildKit counts for an entry beside its data.
	logOverhead = 256
)

func (o *order) put(s *client.SolveStatus) {
	if o.split && len(s.Vertexes)+len(s.Statuses) == 0 && len(s.Logs) > 0 {
		return // more of the same
	}
	s.Vertexes = append(s.Vertexes, o.ends...)
	o.ends = nil
	size := 0
	for _, l := range s.Logs {
		size += len(l.Data) + logOverhead
	}
	if o.split = size > partSize; o.split {
		s.Vertexes, o.ends = separate(s.Vertexes)
	}
}

// separate tells vertices that are going on from those that are done.
func separate(all []*client.Vertex) (going, done []*client.Vertex) {
	for _, v := range all {
		if v.Completed == nil {
			going = append(going, v)
		} else {
			done = append(done, v)
		}
	}
	return going, done
}

func rename(s *client.SolveStatus, names *strings.Replacer) {
	for _, v := range s.Vertexes {
		v.Name, v.Error = names.Replace(v.Name), names.Replace(v.Error)
	}
	for _, st := range s.Statuses {
		st.ID, st.Name = names.Replace(st.ID), names.Replace(st.Name)
	}
}

func orDiscard(w io.Writer) io.Writer {
	if w == nil {
		return io.Discard
	}
	return w
}
