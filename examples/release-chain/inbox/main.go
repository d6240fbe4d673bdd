// Command inbox is told of events, and prints the type and the subject of each.
// It agrees to be told, as receivers of Event Grid do.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"net/http"
	"os"
	"time"
)

type event struct {
	EventType, Subject string
	Data               struct{ ValidationCode string }
}

func main() {
	listen := flag.String("listen", "localhost:5083", "where to be told")
	flag.Parse()
	server := &http.Server{Addr: *listen, Handler: http.HandlerFunc(receive), ReadHeaderTimeout: 10 * time.Second}
	fmt.Fprintln(os.Stderr, "inbox:", server.ListenAndServe())
	os.Exit(1)
}

func receive(w http.ResponseWriter, r *http.Request) {
	var events []event
	if err := json.NewDecoder(r.Body).Decode(&events); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	for _, e := range events {
		if e.EventType == "Microsoft.EventGrid.SubscriptionValidationEvent" {
			_ = json.NewEncoder(w).Encode(map[string]string{"validationResponse": e.Data.ValidationCode})
			continue
		}
		fmt.Println(e.EventType, e.Subject)
	}
}
