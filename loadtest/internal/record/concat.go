package record

import (
	"cmp"
	"slices"
	"time"
)

// Concat returns the summary of runs as if they were one run, one after the other. All must be closed loops, or all
// open loops. The runs are not changed.
func Concat(runs []Summary) Summary {
	all := Summary{Times: newTimes(runs[0].ClientDelay != nil)}
	failures := map[string]int64{}
	for i := range runs {
		r := &runs[i]
		all.add(&r.Counts)
		all.merge(&r.Times)
		for _, interval := range r.Timeline {
			interval.Start += all.Elapsed
			all.Timeline = append(all.Timeline, interval)
		}
		all.Statuses = addStatuses(all.Statuses, r.Statuses)
		for _, f := range r.Failures {
			failures[f.Error] += f.Count
		}
		for _, request := range r.Requests {
			request.Start += all.Elapsed
			all.Requests = append(all.Requests, request)
		}
		all.Elapsed += r.Elapsed
		all.Window.add(&r.Window)
		all.ServerSoftware = cmp.Or(all.ServerSoftware, r.ServerSoftware)
		all.DocumentLength = cmp.Or(all.DocumentLength, r.DocumentLength)
		all.First = cmp.Or(all.First, r.First)
	}
	for text, n := range failures {
		all.Failures = append(all.Failures, FailureCount{text, n})
	}
	slices.SortFunc(all.Failures, func(a, b FailureCount) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.Error, b.Error))
	})
	return all
}

func (c *Counts) add(other *Counts) {
	c.Complete += other.Complete
	c.Connect += other.Connect
	c.Receive += other.Receive
	c.Length += other.Length
	c.Exceptions += other.Exceptions
	c.Aborted += other.Aborted
	c.Stalled += other.Stalled
	c.OutOfResources += other.OutOfResources
	c.Resent += other.Resent
	c.Successful += other.Successful
	c.Non2xx += other.Non2xx
	c.KeptAlive += other.KeptAlive
	c.Received += other.Received
	c.Body += other.Body
}

func (w *WindowCounts) add(other *WindowCounts) {
	w.Successful += other.Successful
	w.Ended += other.Ended
	w.Late += other.Late
}

// newTimes returns empty distributions. In a closed loop, Latency is Total.
func newTimes(open bool) Times {
	t := Times{
		Connect: NewDistribution(), Processing: NewDistribution(), Waiting: NewDistribution(), Total: NewDistribution(),
	}
	t.Latency = t.Total
	if open {
		t.Latency, t.ClientDelay, t.Undelayed = NewDistribution(), NewDistribution(), NewDistribution()
	}
	return t
}

func (t *Times) merge(other *Times) {
	t.Connect.Merge(other.Connect)
	t.Processing.Merge(other.Processing)
	t.Waiting.Merge(other.Waiting)
	t.Total.Merge(other.Total)
	if t.ClientDelay != nil {
		t.Latency.Merge(other.Latency)
		t.ClientDelay.Merge(other.ClientDelay)
		t.Undelayed.Merge(other.Undelayed)
	}
}

// maxOverlay limits the number of intervals of Overlay. Runs of very different lengths need many.
const maxOverlay = 1 << 16

// Overlay returns the timeline of runs at the same time, which start at the given offsets. Requests and errors add. The
// percentiles of an interval are approximate: P50 is the average, P99 and Max are the highest of the runs.
func Overlay(timelines [][]Interval, offsets []time.Duration) []Interval {
	width := time.Duration(1)
	for _, timeline := range timelines {
		if len(timeline) > 0 {
			width = max(width, timeline[0].Width) // only the last one is shorter
		}
	}
	var all []Interval
	for i, offset := range offsets {
		for _, interval := range timelines[i] {
			at := int((offset + interval.Start + interval.Width/2) / width)
			if at < 0 || at > maxOverlay {
				continue // implausible offsets of a damaged file
			}
			for len(all) <= at {
				all = append(all, Interval{Start: time.Duration(len(all)) * width, Width: width})
			}
			all[at].overlay(&interval)
		}
	}
	return all
}

func (i *Interval) overlay(other *Interval) {
	if requests := i.Requests + other.Requests; requests > 0 {
		sum := float64(i.P50)*float64(i.Requests) + float64(other.P50)*float64(other.Requests)
		i.P50 = time.Duration(sum / float64(requests))
	}
	i.Requests += other.Requests
	i.Errors += other.Errors
	i.P99, i.Max = max(i.P99, other.P99), max(i.Max, other.Max)
}
