package main

import (
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"
)

// TestTraffic: a daemon waits for the end of what it answers, and a moment
// longer, but not for ever; one that nobody has asked does not wait.
func TestTraffic(t *testing.T) {
	for _, tt := range []struct {
		name         string
		answer, want time.Duration
	}{
		{"short", time.Second, time.Second + 300*time.Millisecond},
		{"endless", time.Hour, 2 * time.Second},
		{"nobody", 0, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				watched := &traffic{}
				ended := make(chan struct{})
				defer close(ended)
				h := watched.watch(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
					select {
					case <-time.After(tt.answer):
					case <-ended:
					}
				}))
				if tt.answer > 0 {
					go h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/", nil))
				}
				synctest.Wait()
				began := time.Now()
				watched.calm(t.Context(), 300*time.Millisecond, 2*time.Second)
				if took := time.Since(began); took < tt.want || took > tt.want+60*time.Millisecond {
					t.Errorf("waited for %v, want %v", took, tt.want)
				}
			})
		})
	}
}
