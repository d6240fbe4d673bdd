package triggers

import (
	"bufio"
	"os"
	"strings"
	"testing"
	"time"
	_ "time/tzdata"
)

// lines are those of a file of vectors, without its head.
func lines(t testing.TB, name string, head bool) []string {
	t.Helper()
	f, err := os.Open("testdata/cron/" + name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var all []string
	for s := bufio.NewScanner(f); s.Scan(); {
		if s.Text() != "" {
			all = append(all, s.Text())
		}
	}
	if head {
		all = all[1:]
	}
	return all
}

func mustParse(t testing.TB, fields, zone string) *Schedule {
	t.Helper()
	s, err := ParseSchedule(fields, zone)
	if err != nil {
		t.Fatalf("%q: %v", fields, err)
	}
	return s
}

func instant(t testing.TB, text string) time.Time {
	t.Helper()
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		t.Fatal(err)
	}
	return at.UTC()
}

func TestNextVectors(t *testing.T) {
	for _, line := range lines(t, "next.tsv", true) {
		f := strings.Split(line, "\t")
		if got := mustParse(t, f[1], "").Next(instant(t, f[0])); !got.Equal(instant(t, f[2])) {
			t.Errorf("%q after %s is %s, want %s", f[1], f[0], got, f[2])
		}
	}
}

func TestEquivalentVectors(t *testing.T) {
	for _, line := range lines(t, "equivalent.tsv", true) {
		a, b, _ := strings.Cut(line, "\t")
		if mustParse(t, a, "").spec != mustParse(t, b, "").spec {
			t.Errorf("%q is not %q", a, b)
		}
	}
}

func TestBadVectors(t *testing.T) {
	for _, line := range lines(t, "bad.txt", false) {
		if _, err := ParseSchedule(line, ""); err == nil {
			t.Errorf("%q is taken", line)
		}
	}
}

func TestQuirkVectors(t *testing.T) {
	same := map[string]string{
		"0 5-1 * * *":    "0 1,2,3,4,5 * * *",
		"0 0 1 J *":      "0 0 1 1 *",
		"0 0 * * S":      "0 0 * * 0",
		"*/0 * * * *":    "* * * * *",
		"59/5 * * * *":   "59 * * * *",
		" *  3/4 * * * ": "* 3,7,11,15,19,23 * * *",
	}
	for _, line := range lines(t, "ok-quirks.tsv", true) {
		text, meaning, _ := strings.Cut(line, "\t")
		if strings.HasPrefix(meaning, "error") {
			if _, err := ParseSchedule(text, ""); err == nil {
				t.Errorf("%q is taken: %s", text, meaning)
			}
			continue
		}
		if mustParse(t, text, "").spec != mustParse(t, same[text], "").spec {
			t.Errorf("%q is not %q: %s", text, same[text], meaning)
		}
	}
}

func TestScheduleRefusals(t *testing.T) {
	for text, want := range map[string]string{
		"":                             "'' is an invalid crontab expression. It must contain 5 components of a schedule in the sequence of minutes, hours, days, months, and days of week.",
		"0 0 * * 7":                    "7 is higher than the maximum allowable value for the [DayOfWeek] field. Value must be between 0 and 6 (all inclusive).",
		"0 456 * * *":                  "456 is higher than the maximum allowable value for the [Hour] field. Value must be between 0 and 23 (all inclusive).",
		"0 0 0 * *":                    "0 is lower than the minimum allowable value for the [Day] field. Value must be between 1 and 31 (all inclusive).",
		"0 99999999999999999999 * * *": "99999999999999999999 is higher than the maximum allowable value for the [Hour] field. Value must be between 0 and 23 (all inclusive).",
		"0 0 ? * *":                    "'?' is not a valid [Day] crontab field expression.",
		"0 0 L * *":                    "'L' is not a valid [Day] crontab field expression.",
		"0 0 * Foo *":                  "'Foo' is not a known value name. Use one of the following: January, February, March, April, May, June, July, August, September, October, November, December.",
		"0, 0 * * *":                   "A crontab field value cannot be empty.",
		"0 1/ * * *":                   "'1/' is not a valid [Hour] crontab field expression.",
		"0 1/2/3 * * *":                "'1/2/3' is not a valid [Hour] crontab field expression.",
		"0 5# * * *":                   "'5#' is not a valid [Hour] crontab field expression.",
		"TZ=UTC 0 0 * *":               "'TZ=UTC' is not a valid [Minute] crontab field expression.",
		"CRON_TZ= 0 0 * *":             "'CRON_TZ=' is not a valid [Minute] crontab field expression.",
	} {
		if _, err := ParseSchedule(text, ""); err == nil || err.Error() != want {
			t.Errorf("%q: %v\nwant %s", text, err, want)
		}
	}
	for _, zone := range []string{"Mars/Base", "Local", "../etc/passwd"} {
		if _, err := ParseSchedule("* * * * *", zone); err == nil {
			t.Errorf("time zone %q is taken", zone)
		}
	}
}

// next lists the next times as the clocks of the zone show them.
func next(s *Schedule, after time.Time, n int) string {
	var all []string
	for range n {
		after = s.Next(after)
		if after.IsZero() {
			return strings.Join(append(all, "never"), " ")
		}
		shown := after
		if s.zone != nil {
			shown = after.In(s.zone)
		}
		all = append(all, shown.Format("2006-01-02T15:04-0700"))
	}
	return strings.Join(all, " ")
}

func TestScheduleTimes(t *testing.T) {
	for _, test := range []struct{ name, fields, zone, after, want string }{
		{"Friday 13th", "0 0 13 * Fri", "", "2026-01-01T00:00:00Z", "2026-02-13T00:00+0000 2026-03-13T00:00+0000 2026-11-13T00:00+0000"},
		{"first Tuesday", "0 8 1-7 * Tue", "", "2026-01-01T00:00:00Z", "2026-01-06T08:00+0000 2026-02-03T08:00+0000"},
		{"31 February", "0 4 31 2 *", "", "2026-01-01T00:00:00Z", "never"},
		{"29 February, a Monday", "0 0 29 2 Mon", "", "2025-01-01T00:00:00Z", "2044-02-29T00:00+0000 2072-02-29T00:00+0000"},
		{"over 2100", "0 0 29 2 Sun", "", "2088-03-01T00:00:00Z", "2128-02-29T00:00+0000"},
		{"summer", "0 2 * * *", "Europe/Berlin", "2026-07-01T00:00:00Z", "2026-07-02T02:00+0200"},
		{"skipped in New York", "30 2 * * *", "America/New_York", "2026-03-07T12:00:00Z", "2026-03-08T03:00-0400 2026-03-09T02:30-0400"},
		{"many skipped are one", "*/20 2-3 * * *", "America/New_York", "2026-03-08T06:00:00Z", "2026-03-08T03:00-0400 2026-03-08T03:20-0400 2026-03-08T03:40-0400 2026-03-09T02:00-0400"},
		{"shown twice in New York", "30 1 * * *", "America/New_York", "2026-10-31T12:00:00Z", "2026-11-01T01:30-0400 2026-11-02T01:30-0500"},
		{"from within the second", "*/30 * * * *", "America/New_York", "2026-11-01T06:10:00Z", "2026-11-01T02:00-0500"},
		{"midnight in Santiago", "0 0 * * *", "America/Santiago", "2026-09-05T12:00:00Z", "2026-09-06T01:00-0300 2026-09-07T00:00-0300"},
		{"half an hour on Lord Howe", "15 2 * * *", "Australia/Lord_Howe", "2026-10-03T00:00:00Z", "2026-10-04T02:30+1100 2026-10-05T02:15+1100"},
		{"a day that Samoa skipped", "0 9 30 12 *", "Pacific/Apia", "2011-12-01T00:00:00Z", "2011-12-31T00:00+1400 2012-12-30T09:00+1400"},
		{"quarters of an hour", "0 0 * * *", "Asia/Kathmandu", "2026-01-01T00:00:00Z", "2026-01-02T00:00+0545"},
	} {
		t.Run(test.name, func(t *testing.T) {
			n := len(strings.Fields(test.want))
			if got := next(mustParse(t, test.fields, test.zone), instant(t, test.after), n); got != test.want {
				t.Errorf("%s\n got %s\nwant %s", test.fields, got, test.want)
			}
		})
	}
}

// FuzzParseSchedule: nothing panics or hangs, and what is taken says times
// that its fields match, in order.
func FuzzParseSchedule(f *testing.F) {
	for _, line := range lines(f, "next.tsv", true) {
		f.Add(strings.Split(line, "\t")[1], "", int64(1_700_000_000))
	}
	for _, line := range lines(f, "bad.txt", false) {
		f.Add(line, "Europe/Berlin", int64(0))
	}
	f.Add("*/9223372036854775807 * * * *", "America/New_York", int64(1_793_512_800))
	f.Add("0 0 29 2 1", "Australia/Lord_Howe", int64(-5_000_000_000))
	f.Fuzz(func(t *testing.T, fields, zone string, at int64) {
		s, err := ParseSchedule(fields, zone)
		if err != nil {
			return
		}
		after := time.Unix(at%253_402_300_799, 0)
		one := s.Next(after)
		if one.IsZero() {
			return
		}
		two := s.Next(one)
		if !one.After(after) || !two.IsZero() && !two.After(one) {
			t.Fatalf("%q in %q: %s, %s, %s", fields, zone, after, one, two)
		}
		if s.zone == nil {
			if s.spec.Minute&(1<<one.Minute()) == 0 || s.spec.Dom&(1<<one.Day()) == 0 || s.spec.Dow&(1<<int(one.Weekday())) == 0 {
				t.Fatalf("%q says %s", fields, one)
			}
		}
		// From anywhere before it the next is the same.
		if middle := after.Add(one.Sub(after) / 2); !s.Next(middle).Equal(one) {
			t.Fatalf("%q in %q: after %s %s, after %s %s", fields, zone, after, one, middle, s.Next(middle))
		}
	})
}
