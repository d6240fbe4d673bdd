package main

import (
	"fmt"
	"net/http"

	"acrd/eventing"
	"acrd/eventing/inbound"
	"acrd/internal/api"
	"acrd/internal/logs"
	"acrd/internal/metrics"
	"acrd/triggers"
)

// A house is what stands behind the daemon's one address, beside its registry
// and its hooks.
type house struct {
	gate       *api.Gate
	management *api.Server
	admin      *api.Admin
	logs       *logs.Dir
	counts     *metrics.Metrics
}

// doors are the ways in, as http.ServeMux has patterns. docs/openapi.yaml says
// what is behind each. Those without a gate prove themselves: hooks of git
// servers by their signature, those of registries, uploads, links of logs and
// handshakes by an address that nobody can guess.
func (d *daemon) doors(h house) map[string]http.Handler {
	return map[string]http.Handler{
		"/v2/":                   h.gate.Registry(d.registry),
		"/acr/v1/":               h.gate.Registry(d.registry.Data()),
		"/oauth2/":               h.gate.Exchange(),
		"GET /healthz":           http.HandlerFunc(healthy),
		"GET /metrics":           h.gate.Metrics(h.counts.Handler()),
		logs.LinkPrefix:          h.logs.Handler(),
		"/uploads/":              h.management.Uploads(),
		triggers.HooksPrefix:     d.hooks,
		inbound.Pattern:          d.receiver,
		api.PublishPath:          h.gate.Publish(&api.Publisher{Events: d.store, Registry: d.identity.id, Log: d.log}),
		eventing.HandshakePrefix: d.handshake,
		"/acrd/v1/":              h.gate.Management(h.admin.Handler()),
		"/":                      h.gate.Management(h.management.Handler()),
	}
}

func healthy(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") }

// open makes one handler of all doors.
func open(doors map[string]http.Handler) http.Handler {
	mux := http.NewServeMux()
	for pattern, behind := range doors {
		mux.Handle(pattern, behind)
	}
	return mux
}
