package report

import (
	"cmp"
	"fmt"
	"reflect"
)

// validate returns an error that names the first field, in JSON, whose value no run has; nil if there is none. What an
// earlier version of loadtest did not write is not checked.
func (r *Run) validate() error {
	return cmp.Or(
		r.validateNumbers(),
		r.validateCounts(),
		r.validateSums(),
		validatePercentiles("percentiles", r.Percentiles),
		validatePercentiles("latency_percentiles", r.LatencyPercentiles),
		r.validateTimeline(),
		r.validateRepeats(),
	)
}

// validateNumbers requires that counts, times and rates are not negative.
func (r *Run) validateNumbers() error {
	for field, value := range reflect.ValueOf(r.Counts).Fields() {
		if err := notNegative("counts."+field.Tag.Get("json"), value.Int()); err != nil {
			return err
		}
	}
	for i, s := range r.StatusCodes {
		if err := notNegative(fmt.Sprintf("status_codes[%d].count", i), s.Count); err != nil {
			return err
		}
	}
	for i, f := range r.Errors {
		if err := notNegative(fmt.Sprintf("errors[%d].count", i), f.Count); err != nil {
			return err
		}
	}
	return cmp.Or(
		notNegative("seconds", r.Seconds),
		notNegative("common_seconds", r.CommonSeconds),
		notNegative("requests_per_second", r.RequestsPerSecond),
		notNegative("successful_per_second", r.SuccessfulPerSecond),
		notNegative("offered_per_second", r.Offered),
		notNegative("ms_per_request", r.PerRequestMS),
		notNegative("ms_per_request_across_all", r.PerRequestAllMS),
		notNegative("kbytes_per_second", r.KBytesPerSecond),
		notNegative("load.requests", r.Load.Requests),
		notNegative("load.unsent", r.Load.Unsent),
		notNegative("load.concurrency", r.Load.Concurrency),
		notNegative("contract.responses", r.Contract.Responses),
		notNegative("contract.violations", r.Contract.Violations),
	)
}

// validateCounts requires that no part is larger than the whole.
func (r *Run) validateCounts() error {
	c := &r.Counts
	const responses = "counts.good + counts.non_2xx"
	const failed = "counts.connect + counts.receive + counts.exceptions"
	complete := c.Successful + c.Non2xx
	return cmp.Or(
		atMost(responses+" + counts.receive + counts.exceptions", complete+c.Receive+c.Exceptions,
			"counts.complete", c.Complete),
		atMost("counts.length", c.Length, responses, complete),
		atMost("counts.keep_alive", c.KeptAlive, responses, complete),
		atMost("counts.stalled", c.Stalled, "counts.aborted", c.Aborted),
		atMost("counts.out_of_resources", c.OutOfResources, failed, c.Failed()),
	)
}

// validateSums requires that what the run has twice is the same.
func (r *Run) validateSums() error {
	c := &r.Counts
	var responses, failed int64
	for _, s := range r.StatusCodes {
		responses += s.Count
	}
	for _, f := range r.Errors {
		failed += f.Count
	}
	switch h := r.Histograms; {
	case len(r.StatusCodes) > 0 && responses != c.Successful+c.Non2xx:
		return fmt.Errorf("the sum of status_codes must be counts.good + counts.non_2xx (%d), got %d",
			c.Successful+c.Non2xx, responses)
	case len(r.Errors) > 0 && failed != c.Failed():
		return fmt.Errorf("the sum of errors must be counts.connect + counts.receive + counts.exceptions (%d), got %d",
			c.Failed(), failed)
	case h != nil && h.Total != nil && h.Total.Count() != c.Complete:
		return fmt.Errorf("histograms.total.count must be counts.complete (%d), got %d", c.Complete, h.Total.Count())
	}
	return nil
}

// validatePercentiles requires that percentages and times ascend.
func validatePercentiles(name string, percentiles []Percentile) error {
	before := Percentile{Percent: -1}
	for i, p := range percentiles {
		field := fmt.Sprintf("%s[%d]", name, i)
		switch {
		case p.Percent < 0 || p.Percent > 100:
			return fmt.Errorf("%s.percent must be from 0 to 100, got %v", field, p.Percent)
		case p.Percent <= before.Percent:
			return fmt.Errorf("%s.percent must be above the one before (%v), got %v", field, before.Percent, p.Percent)
		case p.MS < before.MS:
			return fmt.Errorf("%s.ms must be at least the one before (%v), got %v", field, before.MS, p.MS)
		}
		before = p
	}
	return nil
}

func (r *Run) validateTimeline() error {
	for n, i := range r.Timeline {
		field := fmt.Sprintf("timeline[%d].", n)
		err := cmp.Or(
			notNegative(field+"start_s", i.Start),
			notNegative(field+"requests", i.Requests),
			notNegative(field+"errors", i.Errors),
			atMost(field+"errors", i.Errors, field+"requests", i.Requests),
		)
		if err != nil {
			return err
		}
		if !(i.Width > 0) {
			return fmt.Errorf("%swidth_s must be above 0, got %v", field, i.Width)
		}
	}
	return nil
}

func (r *Run) validateRepeats() error {
	for i, one := range r.Repeats {
		if one == nil {
			return fmt.Errorf("repeats[%d] must not be null", i)
		}
		if err := one.validate(); err != nil {
			return fmt.Errorf("repeats[%d].%w", i, err)
		}
	}
	return nil
}

func notNegative[T int | int64 | float64](field string, value T) error {
	if value < 0 {
		return fmt.Errorf("%s must not be negative, got %v", field, value)
	}
	return nil
}

// atMost requires that a part is at most the whole.
func atMost(part string, value int64, whole string, limit int64) error {
	if value > limit {
		return fmt.Errorf("%s must be at most %s (%d), got %d", part, whole, limit, value)
	}
	return nil
}
