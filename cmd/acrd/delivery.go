package main

import (
	"fmt"
	"os"

	"github.com/spf13/pflag"
)

// A deliveryForm is the flags that say how a receiver is reached.
type deliveryForm struct {
	attempts, ttl     int
	ca, hub           string
	standard          wordList
	insecure, trusted bool
}

func (f *deliveryForm) define(fs *pflag.FlagSet) {
	fs.IntVar(&f.attempts, "max-delivery-attempts", 30, "how often a delivery is tried, 1 to 30")
	fs.IntVar(&f.ttl, "event-ttl", 1440, "minutes for which a delivery is tried, 1 to 1440")
	fs.Var(&f.standard, "sign-secret", "secrets that deliveries are signed with, as Standard Webhooks has it")
	fs.StringVar(&f.hub, "sign-hub-secret", "", "secret that deliveries are signed with as GitHub does, in X-Hub-Signature-256")
	fs.StringVar(&f.ca, "ca-file", "", "file with certificates to believe, in PEM")
	fs.BoolVar(&f.insecure, "insecure", false, "believe any certificate")
	fs.BoolVar(&f.trusted, "trusted", false, "allow the receiver to be at a private address; only on the daemon's own machine")
}

// addTo adds to properties what was given.
func (f *deliveryForm) addTo(properties body, fs *pflag.FlagSet) error {
	if fs.Changed("max-delivery-attempts") || fs.Changed("event-ttl") {
		properties["retryPolicy"] = body{"maxDeliveryAttempts": f.attempts, "eventTimeToLiveInMinutes": f.ttl}
	}
	if fs.Changed("sign-secret") || fs.Changed("sign-hub-secret") {
		properties["sign"] = body{"standard": []string(f.standard), "hub": f.hub}
	}
	if fs.Changed("insecure") {
		properties["insecure"] = f.insecure
	}
	if fs.Changed("trusted") {
		properties["trusted"] = f.trusted
	}
	if !fs.Changed("ca-file") {
		return nil
	}
	properties["ca"] = ""
	if f.ca != "" {
		b, err := os.ReadFile(f.ca)
		if err != nil {
			return fmt.Errorf("certificates: %w", err)
		}
		properties["ca"] = string(b)
	}
	return nil
}
