package report

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/pointsapp/pointsapp/loadtest/internal/record"
)

// ErrDifferentTimes means that runs to merge have no time in common.
var ErrDifferentTimes = errors.New("the runs cannot be merged: they did not run at the same time")

// Merge returns one run for the load of several load generators at the same time. Counts and histograms are added;
// rates are added over the time that is common to all runs. The contract was checked in each run separately, so a
// timestamp that was returned in two of them is not detected. names are those of the runs in messages, such as file
// names.
func Merge(names []string, runs []*Run) (*Run, error) {
	if len(runs) == 0 {
		return nil, errors.New("there is no run to merge")
	}
	summaries := make([]record.Summary, 0, len(runs))
	for i, r := range runs {
		if r.Search != nil && len(runs) > 1 {
			return nil, fmt.Errorf("%s: a search for the highest rate cannot be merged with other runs", names[i])
		}
		if err := checkMergeable(runs[0], r); err != nil {
			return nil, fmt.Errorf("%s and %s: %w", names[0], names[i], err)
		}
		s, err := r.Summary()
		if err != nil {
			return nil, err
		}
		summaries = append(summaries, s)
	}
	start, end := period(runs)
	from, to := commonPeriod(runs)
	common := to.Sub(from)
	switch shortest := slices.MinFunc(runs, func(a, b *Run) int { return cmp.Compare(a.Seconds, b.Seconds) }); {
	case common <= 0:
		return nil, ErrDifferentTimes
	case common < seconds(shortest.Seconds)/2:
		return nil, fmt.Errorf("%w for at least half of the shortest one: only for %v", ErrDifferentTimes, common)
	}

	first := *runs[0]
	merged := &Run{
		Schema: Schema, Name: joinText(runs, " + ", func(r *Run) string { return r.Name }), Date: start,
		Command: first.Command, Load: first.Load, Setup: first.Setup,
		Merged: len(runs), CommonSeconds: common.Seconds(),
	}
	if len(runs) == 1 {
		merged.Search = first.Search
	}
	merged.Host = joinHosts(runs)
	merged.Target = joinTargets(runs)
	merged.addLoads(runs)
	s := record.Concat(summaries)
	s.Elapsed = end.Sub(start)
	s.Timeline = overlay(runs, summaries, start)
	merged.Fill(&s)
	merged.addRates(runs, from, to)
	for i, r := range runs {
		for _, text := range r.noSuccesses() {
			merged.FailedParts = append(merged.FailedParts, names[i]+": "+text)
		}
	}
	return merged, nil
}

// checkMergeable returns an error if one description of the load and the server cannot be true of both runs.
func checkMergeable(a, b *Run) error {
	switch {
	case a.Load.Mode != b.Load.Mode:
		return errors.New("an open and a closed loop cannot be merged")
	case a.Setup != b.Setup:
		return fmt.Errorf("runs on different servers cannot be merged: %s; %s", server(a), server(b))
	}
	for _, describe := range []func(*Run) string{keepAlive, transportOf} {
		if one, other := describe(a), describe(b); one != other {
			return fmt.Errorf("runs with %s and with %s cannot be merged", one, other)
		}
	}
	return nil
}

// joinTargets returns a target that lists what the targets of the runs have. Its Requests is the highest of them.
func joinTargets(runs []*Run) Target {
	list := func(text func(*Target) string) string {
		return joinText(runs, ", ", func(r *Run) string { return text(&r.Target) })
	}
	joined := Target{
		URL:      list(func(t *Target) string { return t.URL }),
		Method:   list(func(t *Target) string { return t.Method }),
		Hostname: list(func(t *Target) string { return t.Hostname }),
		Port:     list(func(t *Target) string { return t.Port }),
		Path:     list(func(t *Target) string { return t.Path }),
	}
	for _, r := range runs {
		joined.Requests = max(joined.Requests, r.Target.Requests)
	}
	return joined
}

// joinHosts returns a host that lists what the hosts of the runs have. Different numbers of CPUs are left out.
func joinHosts(runs []*Run) Host {
	list := func(text func(*Host) string) string {
		return joinText(runs, ", ", func(r *Run) string { return text(&r.Host) })
	}
	joined := Host{
		Name:      list(func(h *Host) string { return h.Name }),
		OS:        list(func(h *Host) string { return h.OS }),
		Arch:      list(func(h *Host) string { return h.Arch }),
		GoVersion: list(func(h *Host) string { return h.GoVersion }),
		CPUs:      runs[0].Host.CPUs, CPUsUsed: runs[0].Host.CPUsUsed,
	}
	for _, r := range runs {
		if r.Host.CPUs != joined.CPUs || r.Host.CPUsUsed != joined.CPUsUsed {
			joined.CPUs, joined.CPUsUsed = 0, 0
		}
	}
	return joined
}

// targets returns the different targets of the runs, with their methods, or their requests in turn, if these differ.
func targets(runs []*Run) []string {
	requests := func(r *Run) string { return cmp.Or(r.Target.Method, r.Target.Path) }
	sameRequests := !strings.Contains(joinText(runs, "\n", requests), "\n")
	text := func(r *Run) string {
		if sameRequests {
			return r.Target.URL
		}
		return requests(r) + " " + r.Target.URL
	}
	return strings.Split(joinText(runs, "\n", text), "\n")
}

// TargetsNote returns a note if the runs to merge have different targets; otherwise "".
func TargetsNote(runs []*Run) string {
	if all := targets(runs); len(all) > 1 {
		return "the runs have different targets: " + strings.Join(all, ", ")
	}
	return ""
}

// Same reports whether r and other are the same run, read from files that may have different names. Two processes on
// one machine may start within the same millisecond, but their figures differ.
func (r *Run) Same(other *Run) bool {
	return r.Date.Equal(other.Date) && r.Host == other.Host && r.Target == other.Target && r.Counts == other.Counts &&
		r.Seconds == other.Seconds && r.ConnectionTimes == other.ConnectionTimes
}

// period returns when the first run began and the last one ended.
func period(runs []*Run) (start, end time.Time) {
	start, end = runs[0].Date, runs[0].end()
	for _, r := range runs {
		if r.Date.Before(start) {
			start = r.Date
		}
		if r.end().After(end) {
			end = r.end()
		}
	}
	return start, end
}

// commonPeriod returns when the last run began and the first one ended.
func commonPeriod(runs []*Run) (from, to time.Time) {
	from, to = runs[0].Date, runs[0].end()
	for _, r := range runs {
		if r.Date.After(from) {
			from = r.Date
		}
		if r.end().Before(to) {
			to = r.end()
		}
	}
	return from, to
}

func (r *Run) end() time.Time { return r.Date.Add(seconds(r.Seconds)) }

// joinText joins the distinct texts of the runs.
func joinText(runs []*Run, separator string, text func(*Run) string) string {
	var texts []string
	for _, r := range runs {
		if s := text(r); s != "" && !slices.Contains(texts, s) {
			texts = append(texts, s)
		}
	}
	return strings.Join(texts, separator)
}

// addLoads adds the figures of the runs that are not in their summaries.
func (r *Run) addLoads(runs []*Run) {
	r.Load.Requests, r.Load.Unsent, r.Load.Concurrency = 0, 0, 0
	for _, one := range runs {
		r.Offered += one.Offered
		r.Load.Requests += one.Load.Requests
		r.Load.Unsent += one.Load.Unsent
		r.Load.Concurrency += one.Load.Concurrency
		r.Load.AnyLength = r.Load.AnyLength || one.Load.AnyLength
		r.Client.CPU.Used = max(r.Client.CPU.Used, one.Client.CPU.Used)
		r.Client.CPU.Waited = max(r.Client.CPU.Waited, one.Client.CPU.Waited)
		r.Interrupted = r.Interrupted || one.Interrupted
		r.Client.Limit = cmp.Or(r.Client.Limit, one.Client.Limit)
		r.Contract.Add(&one.Contract)
	}
	if r.IsOpen() {
		rates := make([]string, 0, len(runs))
		for _, one := range runs {
			rates = append(rates, one.Load.Rate)
		}
		r.Load.Rate = strings.Join(rates, " + ")
	}
}

func overlay(runs []*Run, summaries []record.Summary, start time.Time) []record.Interval {
	timelines := make([][]record.Interval, 0, len(runs))
	offsets := make([]time.Duration, 0, len(runs))
	for i, r := range runs {
		timelines = append(timelines, summaries[i].Timeline)
		offsets = append(offsets, r.Date.Sub(start))
	}
	return record.Overlay(timelines, offsets)
}

// addRates sets the rates, as sums of the rates of the runs in the common period.
func (r *Run) addRates(runs []*Run, from, to time.Time) {
	r.RequestsPerSecond, r.SuccessfulPerSecond, r.KBytesPerSecond = 0, 0, 0
	for _, one := range runs {
		share := one.shareIn(from, to)
		r.RequestsPerSecond += share * one.RequestsPerSecond
		r.SuccessfulPerSecond += share * one.SuccessfulPerSecond
		r.KBytesPerSecond += share * one.KBytesPerSecond
	}
	if r.RequestsPerSecond > 0 {
		r.PerRequestAllMS = 1000 / r.RequestsPerSecond
		r.PerRequestMS = r.PerRequestAllMS * float64(r.Load.Concurrency)
	}
}

// shareIn returns the rate of the run from..to, relative to that of the whole run; 1 if it has no timeline.
func (r *Run) shareIn(from, to time.Time) float64 {
	first, last := from.Sub(r.Date).Seconds(), to.Sub(r.Date).Seconds()
	var all, inside float64
	for _, i := range r.Timeline {
		end := min(i.Start+i.Width, r.Seconds) // the last interval may end after the run
		if end <= i.Start {
			continue
		}
		all += float64(i.Requests)
		if overlap := min(end, last) - max(i.Start, first); overlap > 0 {
			inside += float64(i.Requests) * min(overlap/(end-i.Start), 1)
		}
	}
	if all == 0 || r.Seconds <= 0 || last <= first {
		return 1
	}
	return (inside / (last - first)) / (all / r.Seconds)
}

// Describe describes the runs that this one consists of; "" if there is only one.
func (r *Run) Describe() string {
	switch {
	case len(r.Repeats) > 1:
		return fmt.Sprintf("%d runs in sequence. The figures are those of all their requests.", len(r.Repeats))
	case r.Merged > 1:
		return fmt.Sprintf("%d runs merged. Rates are those of the %.1f seconds in which all of them ran.",
			r.Merged, r.CommonSeconds)
	}
	return ""
}
