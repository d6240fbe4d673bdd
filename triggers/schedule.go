package triggers

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"acrd/runner"

	"github.com/robfig/cron/v3"
)

// A Schedule is the times at which a timer fires. It means what NCrontab, and
// so ACR, means by the five fields: the day of the month and the day of the
// week must both match, Sunday is 0 and not 7, names may be cut short, and a
// range that is the wrong way round is turned round.
//
// With a time zone the fields are read on the clocks there. A time that they
// skip is when they skip it, and one that they show twice is the first of the
// two.
type Schedule struct {
	spec cron.SpecSchedule
	zone *time.Location // nil is UTC
}

// ParseSchedule reads the fields, and the name of a time zone; empty is UTC.
func ParseSchedule(fields, zone string) (*Schedule, error) {
	list := strings.Fields(fields)
	if len(list) != 5 {
		return nil, fmt.Errorf("'%s' is an invalid crontab expression. It must contain 5 components of a schedule in the sequence of minutes, hours, days, months, and days of week.", fields) //nolint:revive,staticcheck // NCrontab's words
	}
	var bits [5]uint64
	for i, text := range list {
		var err error
		if bits[i], err = cronFields[i].parse(text); err != nil {
			return nil, err
		}
	}
	s := &Schedule{spec: cron.SpecSchedule{
		// A star among the days makes cron want both to match.
		Second: 1, Minute: bits[0], Hour: bits[1], Dom: bits[2] | cronStar, Month: bits[3], Dow: bits[4], Location: time.UTC,
	}}
	var err error
	s.zone, err = loadZone(zone)
	return s, err
}

// scheduleOf is the schedule of a timer.
func scheduleOf(t runner.TimerTrigger) (*Schedule, error) {
	return ParseSchedule(t.Schedule, t.TimeZone)
}

// cronStar marks a field of cron that says everything.
const cronStar = 1 << 63

func loadZone(name string) (*time.Location, error) {
	if name == "" || name == "UTC" {
		return nil, nil
	}
	zone, err := time.LoadLocation(name)
	if err != nil || name == "Local" {
		return nil, fmt.Errorf("'%s' is not the name of a time zone, such as Europe/Berlin.", name) //nolint:revive,staticcheck // a sentence, as the others are
	}
	return zone, nil
}

// A cronField is one of the five.
type cronField struct {
	name     string
	min, max int
	names    []string // of the values from min on
}

var cronFields = [5]cronField{
	{"Minute", 0, 59, nil},
	{"Hour", 0, 23, nil},
	{"Day", 1, 31, nil},
	{"Month", 1, 12, []string{"January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November", "December"}},
	{"DayOfWeek", 0, 6, []string{"Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"}},
}

// parse returns the values of a field as bits.
func (f cronField) parse(text string) (uint64, error) {
	var all uint64
	for part := range strings.SplitSeq(text, ",") {
		bits, err := f.part(part)
		if err != nil {
			return 0, err
		}
		all |= bits
	}
	return all, nil
}

// part reads *, a value or a range, and the step after it.
func (f cronField) part(text string) (uint64, error) {
	values, stepText, stepped := strings.Cut(text, "/")
	step := 1
	if stepped {
		var err error
		if step, err = strconv.Atoi(stepText); err != nil && !errors.Is(err, strconv.ErrRange) {
			return 0, f.invalid(text)
		}
	}
	from, to, err := f.values(values, stepped)
	if err != nil {
		return 0, err
	}
	if from > to {
		from, to = to, from
	}
	step = min(max(step, 1), f.max+1)
	var bits uint64
	for v := from; v <= to; v += step {
		bits |= 1 << v
	}
	return bits, nil
}

func (f cronField) values(text string, stepped bool) (from, to int, err error) {
	if text == "*" {
		return f.min, f.max, nil
	}
	first, last, isRange := strings.Cut(text, "-")
	if from, err = f.value(first); err != nil {
		return 0, 0, err
	}
	switch {
	case isRange:
		to, err = f.value(last)
	case stepped:
		to = f.max
	default:
		to = from
	}
	return from, to, err
}

func (f cronField) value(text string) (int, error) {
	if text == "" {
		return 0, errors.New("A crontab field value cannot be empty.") //nolint:revive,staticcheck // NCrontab's words
	}
	if text[0] < '0' || text[0] > '9' {
		return f.named(text)
	}
	n, err := strconv.Atoi(text)
	switch {
	case errors.Is(err, strconv.ErrRange) || err == nil && n > f.max:
		return 0, fmt.Errorf("%s is higher than the maximum allowable value for the [%s] field. Value must be between %d and %d (all inclusive).", text, f.name, f.min, f.max) //nolint:revive,staticcheck // NCrontab's words
	case err != nil:
		return 0, f.invalid(text)
	case n < f.min:
		return 0, fmt.Errorf("%s is lower than the minimum allowable value for the [%s] field. Value must be between %d and %d (all inclusive).", text, f.name, f.min, f.max) //nolint:revive,staticcheck // NCrontab's words
	}
	return n, nil
}

// named finds the first value whose name begins with the text.
func (f cronField) named(text string) (int, error) {
	if f.names == nil {
		return 0, f.invalid(text)
	}
	for i, name := range f.names {
		if len(text) <= len(name) && strings.EqualFold(name[:len(text)], text) {
			return f.min + i, nil
		}
	}
	return 0, fmt.Errorf("'%s' is not a known value name. Use one of the following: %s.", text, strings.Join(f.names, ", ")) //nolint:revive,staticcheck // NCrontab's words
}

func (f cronField) invalid(text string) error {
	return fmt.Errorf("'%s' is not a valid [%s] crontab field expression.", text, f.name) //nolint:revive,staticcheck // NCrontab's words
}

// Next is the first time after t; zero if there is none.
func (s *Schedule) Next(t time.Time) time.Time {
	if s.zone == nil {
		return s.nextWall(t.UTC())
	}
	for wall := clocks(t.In(s.zone)); ; {
		if wall = s.nextWall(wall); wall.IsZero() {
			return time.Time{}
		}
		// What the clocks show a second time has been already.
		if at := s.when(wall); at.After(t) {
			return at
		}
	}
}

// longest is more years than any day is away: a 29 February that is a given
// day of the week, over the end of a century.
const longest = 45

// nextWall is the first time after wall that the fields match. The cron
// package looks five years ahead.
func (s *Schedule) nextWall(wall time.Time) time.Time {
	for last := wall.Year() + longest; wall.Year() <= last; {
		if next := s.spec.Next(wall); !next.IsZero() {
			return next
		}
		wall = time.Date(wall.Year()+5, time.December, 31, 23, 59, 59, 0, time.UTC)
	}
	return time.Time{}
}

// clocks is the time in UTC at which clocks there show what they show here at
// t.
func clocks(t time.Time) time.Time {
	_, offset := t.Zone()
	return t.UTC().Add(time.Duration(offset) * time.Second)
}

// when is the time at which clocks in the zone show wall: the first of two, or
// the moment at which they skip it.
func (s *Schedule) when(wall time.Time) time.Time {
	const apart = 26 * time.Hour // more than any zone's distance from UTC
	before := wall.Add(-offsetAt(wall.Add(-apart), s.zone))
	after := wall.Add(-offsetAt(wall.Add(apart), s.zone))
	switch {
	case clocks(before.In(s.zone)).Equal(wall): // also if it is shown twice
		return before
	case clocks(after.In(s.zone)).Equal(wall):
		return after
	}
	skipped, _ := before.In(s.zone).ZoneBounds()
	return skipped.UTC()
}

func offsetAt(t time.Time, zone *time.Location) time.Duration {
	_, offset := t.In(zone).Zone()
	return time.Duration(offset) * time.Second
}
