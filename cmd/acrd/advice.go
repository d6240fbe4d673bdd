package main

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"acrd/internal/acr"
	"acrd/internal/api"
)

// An advice is an error, and what to do next.
type advice struct {
	error
	next string
}

func (a *advice) Error() string { return a.error.Error() + "\n" + a.next }
func (a *advice) Unwrap() error { return a.error }

// advised says what to do about an error of a command of a group.
func advised(err error, group, c command) error {
	next := ""
	_, wrongLine := errors.AsType[*usageError](err)
	_, ofRegistry := errors.AsType[*acr.Fault](err)
	switch {
	case silent(err):
	case wrongLine:
		next = fmt.Sprintf("Run '%s %s --help' for its flags.", group.name, c.name)
	case errors.Is(err, api.ErrUnreachable):
		next = "Start one with 'acrd serve', or say with --server or $ACRD_SERVER where it is."
	case statusOf(err) != http.StatusNotFound:
	case ofRegistry:
		next = "Run 'acrd repository list' and 'acrd repository show-tags' for what there is."
	case strings.HasPrefix(err.Error(), "run "):
		next = "Run 'acrd runs list' for those that there are."
	case slices.ContainsFunc(group.subs, func(other command) bool { return other.name == "list" && c.name != "list" }):
		next = fmt.Sprintf("Run '%s list' for those that there are.", group.name)
	}
	if next == "" {
		return err
	}
	return &advice{err, next}
}

// closest is the word that somebody who has typed one most probably meant;
// empty if none is like it.
func closest(typed string, words []string) string {
	best, least := "", 3
	for _, word := range words {
		if len(typed) > 1 && (strings.HasPrefix(word, typed) || strings.HasPrefix(typed, word)) {
			return word
		}
		if d := distance(typed, word); d < least && d < len(typed) && d < len(word) {
			best, least = word, d
		}
	}
	return best
}

// distance is how many letters are to be put in, left out or replaced.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		above := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := above
			if a[i] != b[j] {
				change++
			}
			above = row[j+1]
			row[j+1] = min(change, above+1, row[j]+1)
		}
	}
	return row[len(b)]
}
