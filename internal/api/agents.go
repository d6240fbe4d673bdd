package api

import (
	"context"
	"errors"
	"io"
	"net/http"
	"sync"
	"time"

	"acrd/runner"
	"acrd/steps"
)

// Agents are parking places for connections to SSH agents. The client of a
// build that forwards its agent parks a connection here under a secret name;
// when the build asks for the agent, one parked connection is taken, and the
// client, which sees bytes come, connects it to its agent and parks another.
type Agents struct {
	mu    sync.Mutex // guards lots
	lots  map[string]chan io.ReadWriteCloser
	spare []string
}

// agentUpgrade names the protocol that the connection turns to.
const agentUpgrade = "ssh-agent"

const (
	// agentWait is how long a build waits for a client to park.
	agentWait = 10 * time.Second
	// parkingPlaces is how many connections may wait under one name.
	parkingPlaces = 4
	maxLots       = 1000
)

func (a *Agents) lot(name string) chan io.ReadWriteCloser {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.lots == nil {
		a.lots = map[string]chan io.ReadWriteCloser{}
	}
	l, ok := a.lots[name]
	if !ok {
		l = make(chan io.ReadWriteCloser, parkingPlaces)
		a.lots[name] = l
		a.spare = append(a.spare, name)
		if len(a.spare) > maxLots { // nobody has asked for the oldest for long
			delete(a.lots, a.spare[0])
			a.spare = a.spare[1:]
		}
	}
	return l
}

// park takes over the connection of a request.
func (a *Agents) park(w http.ResponseWriter, r *http.Request) error {
	if r.Header.Get("Upgrade") != agentUpgrade {
		return &runner.InvalidError{Err: errors.New("this path is for connections that upgrade to " + agentUpgrade)}
	}
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return err
	}
	if _, err := io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: "+agentUpgrade+"\r\n\r\n"); err != nil {
		conn.Close()
		return nil
	}
	select {
	case a.lot(r.PathValue("agent")) <- conn:
	default:
		conn.Close()
	}
	return nil
}

// dials connect to the agents of a request.
func (a *Agents) dials(names map[string]string) map[string]steps.Dial {
	if len(names) == 0 {
		return nil
	}
	dials := map[string]steps.Dial{}
	for id, name := range names {
		dials[id] = func(ctx context.Context) (io.ReadWriteCloser, error) {
			t := time.NewTimer(agentWait)
			defer t.Stop()
			select {
			case p := <-a.lot(name):
				return p, nil
			case <-t.C:
				return nil, errors.New("the client that has the ssh agent is gone")
			case <-ctx.Done():
				return nil, context.Cause(ctx)
			}
		}
	}
	return dials
}
