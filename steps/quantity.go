package steps

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
)

func parseCPUs(v string) (float64, error) {
	n, err := strconv.ParseFloat(v, 64)
	if err != nil || !(n >= 0 && n <= 4096) {
		return 0, fmt.Errorf("%q is not a number of processors", brief(v))
	}
	return n, nil
}

// size reads 512m, 1g, 64kb or bytes, as docker does.
func size(into *int64) func(string) error {
	return func(v string) (err error) { *into, err = parseSize(v); return err }
}

func parseSize(v string) (int64, error) {
	number := strings.ToLower(v)
	number = strings.TrimSuffix(strings.TrimSuffix(number, "b"), "i")
	shift := 0
	if n := len(number); n > 0 {
		if at := strings.IndexByte("kmgtp", number[n-1]); at >= 0 {
			shift, number = 10*(at+1), number[:n-1]
		}
	}
	f, err := strconv.ParseFloat(strings.TrimSpace(number), 64)
	if bytes := f * float64(int64(1)<<shift); err == nil && bytes >= 0 && bytes < math.MaxInt64 {
		return int64(bytes), nil
	}
	return 0, fmt.Errorf("%q is not a size: want a number with b, k, m or g", brief(v))
}

// swap is a size, or -1 for as much as there is.
func swap(into *int64) func(string) error {
	return func(v string) (err error) {
		if v == "-1" {
			*into = -1
			return nil
		}
		*into, err = parseSize(v)
		return err
	}
}

// count reads a whole number that is not below least.
func count(into *int64, least int64) func(string) error {
	return func(v string) error {
		n, err := strconv.ParseInt(v, 10, 64)
		if err != nil || n < least {
			return fmt.Errorf("%q is not a number from %d on", brief(v), least)
		}
		*into = n
		return nil
	}
}

// limitNames are the resource limits that Linux has.
var limitNames = []string{
	"as", "core", "cpu", "data", "fsize", "locks", "memlock", "msgqueue", "nice", "nofile", "nproc", "rss",
	"rtprio", "rttime", "sigpending", "stack",
}

func ulimit(into *[]Ulimit) func(string) error {
	return func(v string) error {
		u, err := parseUlimit(v)
		*into = append(*into, u)
		return err
	}
}

// parseUlimit reads NAME=SOFT[:HARD], where -1 is no limit.
func parseUlimit(v string) (Ulimit, error) {
	name, values, ok := strings.Cut(v, "=")
	soft, hard, two := strings.Cut(values, ":")
	if !two {
		hard = soft
	}
	u := Ulimit{Name: name}
	var err1, err2 error
	u.Soft, err1 = strconv.ParseInt(soft, 10, 64)
	u.Hard, err2 = strconv.ParseInt(hard, 10, 64)
	switch {
	case !ok, name == "", err1 != nil, err2 != nil, u.Soft < -1, u.Hard < -1:
		return u, fmt.Errorf("%q is not a limit: want NAME=SOFT[:HARD]", brief(v))
	case !slices.Contains(limitNames, name):
		return u, fmt.Errorf("%q is not a limit that Linux has: there are %s", brief(name), strings.Join(limitNames, ", "))
	case u.Hard != -1 && (u.Soft == -1 || u.Soft > u.Hard):
		return u, fmt.Errorf("%q has a soft limit above its hard limit", brief(v))
	}
	return u, nil
}
