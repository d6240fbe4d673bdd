package main

import (
	"os"

	"github.com/spf13/pflag"
)

// A deliveryForm is the flags that say how a receiver is reached, be it a
// webhook's or an event subscription's.
type deliveryForm struct {
	fs                *pflag.FlagSet
	attempts, ttl     int
	caFile, signHub   string
	sign              wordList
	insecure, trusted bool
}

func (f *deliveryForm) define(fs *pflag.FlagSet) {
	f.fs = fs
	fs.IntVar(&f.attempts, "max-delivery-attempts", 30, "how often a delivery is tried, 1 to 30")
	fs.IntVar(&f.ttl, "event-ttl", 1440, "minutes for which a delivery is tried, 1 to 1440")
	fs.Var(&f.sign, "sign-secret", "secrets that deliveries are signed with, as Standard Webhooks has it")
	fs.StringVar(&f.signHub, "sign-hub-secret", "", "secret that deliveries are signed with as GitHub does, in X-Hub-Signature-256")
	fs.StringVar(&f.caFile, "ca-file", "", "file with certificates to believe, in PEM")
	fs.BoolVar(&f.insecure, "insecure", false, "allow http://, and believe any certificate")
	fs.BoolVar(&f.trusted, "trusted", false, "allow the endpoint to be at a private address; only on the daemon's own machine")
}

// addRetry adds to properties how long a delivery is tried, if it was given.
func (f *deliveryForm) addRetry(properties body) {
	retry := body{}
	if f.fs.Changed("max-delivery-attempts") {
		retry["maxDeliveryAttempts"] = f.attempts
	}
	if f.fs.Changed("event-ttl") {
		retry["eventTimeToLiveInMinutes"] = f.ttl
	}
	if len(retry) > 0 {
		properties["retryPolicy"] = retry
	}
}

// addTrust adds who signs, and whom to believe.
func (f *deliveryForm) addTrust(properties body) error {
	if f.fs.Changed("insecure") {
		properties["insecure"] = f.insecure
	}
	if f.fs.Changed("trusted") {
		properties["trusted"] = f.trusted
	}
	sign := body{}
	if f.fs.Changed("sign-secret") {
		sign["standard"] = append([]string{}, f.sign...)
	}
	if f.fs.Changed("sign-hub-secret") {
		sign["hub"] = f.signHub
	}
	if len(sign) > 0 {
		properties["sign"] = sign
	}
	if f.caFile == "" {
		return nil
	}
	b, err := os.ReadFile(f.caFile)
	if err != nil {
		return &usageError{"--ca-file: " + err.Error()}
	}
	properties["ca"] = string(b)
	return nil
}
