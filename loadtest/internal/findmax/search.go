// Package findmax searches for the highest rate at which a server meets an SLO.
//
//	result, err := findmax.Search(ctx, 1000, func(ctx context.Context, step findmax.Step) (findmax.Outcome, error) {
//		return measure(ctx, step.Rate, step.Confirm)
//	})
package findmax

import (
	"context"

	"github.com/pointsapp/pointsapp/loadtest/internal/attack"
)

const (
	// precision is the reciprocal of the relative error of the result: 5%.
	precision = 20

	// minRate is the lowest rate, in requests per second.
	minRate = 1
)

// An Outcome is the result of a step.
type Outcome int

const (
	// Met means that the server met the SLO.
	Met Outcome = iota
	// Missed means that the server missed the SLO: the rate is too high.
	Missed
	// ClientLimited means that the SLO was missed because of the load generator: nothing is known about the server.
	ClientLimited
	// NoSuccess means that there was no 2xx response: the rate is much too high, or the server does not work.
	NoSuccess
)

// A Step is a rate to try.
type Step struct {
	Rate int // requests per second

	// Confirm asks for a longer step. The search ends if it meets the SLO.
	Confirm bool
}

// A Result is the result of a search.
type Result struct {
	// Highest is the highest rate that met the SLO, in requests per second; 0 if there is none.
	Highest int

	// ClientLimited means that higher rates missed because of the load generator: the server may be capable of more.
	ClientLimited bool

	// NoSuccess means that there was no 2xx response at the first rate, nor at the lowest one.
	NoSuccess bool
}

// Search returns the highest rate that meets the SLO, within 5%. It doubles the rate from first, in requests per
// second, until one misses, and then bisects. It assumes that all rates above some limit miss, but not that all below
// it always meet: a rate misses only if try misses twice, and the result must meet the SLO once more in a step with
// Confirm. When try returns an error or ctx ends, Search returns the highest rate so far and the error.
//
// A server may reject all requests because of the rate, so if the first step has no 2xx response, Search tries the
// lowest rate. If that has none, either, the server does not work, and the search ends.
//
// If both steps of a later rate have no 2xx response, Search tries the highest rate that met the SLO again, up to two
// times, so that try can find that the server has failed and return an error.
//
// Before the result is confirmed, the lowest rate that missed is tried once more: a disturbance may have ended by then.
// If it meets the SLO, the search goes on above it.
func Search(
	ctx context.Context, first int, try func(ctx context.Context, step Step) (Outcome, error),
) (Result, error) {
	s := search{try: try}
	if noSuccess, err := s.tryFirst(ctx, first); noSuccess || err != nil {
		return Result{NoSuccess: noSuccess}, err
	}
	for rate := first; ; rate = s.next() {
		if err := s.step(ctx, Step{Rate: rate}); err != nil {
			return s.result(), err
		}
		for s.converged() {
			confirmed := s.highest()
			if s.mayRetest() {
				if err := s.retest(ctx); err != nil {
					return s.result(), err
				}
				continue
			}
			if confirmed == 0 {
				return s.result(), nil
			}
			if err := s.step(ctx, Step{Rate: confirmed, Confirm: true}); err != nil || s.highest() == confirmed {
				return s.result(), err
			}
		}
	}
}

// A search is the state of Search.
type search struct {
	try    func(ctx context.Context, step Step) (Outcome, error)
	met    []int  // rates that met the SLO, ascending
	missed []miss // rates that missed, descending

	tried *Outcome // set by tryFirst for the first step; nil after it
}

// A miss is a rate that missed.
type miss struct {
	rate          int
	clientLimited bool // because of the load generator
	final         bool // it missed again in retest, or the confirmation missed
}

// tryFirst tries the first rate, and the lowest one if there is no 2xx response. It reports whether the lowest one has
// none, either.
func (s *search) tryFirst(ctx context.Context, first int) (bool, error) {
	outcome, err := s.outcome(ctx, Step{Rate: first})
	s.tried = &outcome
	if err != nil || outcome != NoSuccess {
		return false, err
	}
	s.tried = nil
	low, err := s.outcome(ctx, Step{Rate: minRate})
	s.tried = &outcome
	if err == nil && low == Met && first > minRate {
		s.met = append(s.met, minRate)
	}
	return low == NoSuccess, err
}

// outcome returns the outcome of a step; for the first step, the one that tryFirst has stored.
func (s *search) outcome(ctx context.Context, step Step) (Outcome, error) {
	if tried := s.tried; tried != nil {
		s.tried = nil
		return *tried, nil
	}
	if err := ctx.Err(); err != nil {
		return Missed, err
	}
	return s.try(ctx, step)
}

// step tries a rate, and once more if it misses.
func (s *search) step(ctx context.Context, step Step) error {
	limited, noSuccess := false, true
	for range 2 {
		outcome, err := s.outcome(ctx, step)
		switch {
		case err != nil:
			return err
		case outcome == Met:
			if step.Rate > s.highest() {
				s.met = append(s.met, step.Rate)
			}
			return nil
		}
		limited = limited || outcome == ClientLimited
		noSuccess = noSuccess && outcome == NoSuccess
	}
	if noSuccess {
		if err := s.checkServer(ctx); err != nil {
			return err
		}
	}
	s.missed = append(s.missed, miss{rate: step.Rate, clientLimited: limited, final: step.Confirm})
	for s.highest() >= step.Rate { // the confirmation missed
		s.met = s.met[:len(s.met)-1]
	}
	return nil
}

// checkServer tries the highest rate that met the SLO again, up to two times. It is for after a rate without a 2xx
// response: the server may have failed, which is for try to decide.
func (s *search) checkServer(ctx context.Context) error {
	for range 2 {
		if s.highest() == 0 {
			return nil
		}
		if outcome, err := s.outcome(ctx, Step{Rate: s.highest()}); err != nil || outcome != NoSuccess {
			return err
		}
	}
	return nil
}

// lowestMissed returns the lowest rate that missed; its rate is 0 if there is none.
func (s *search) lowestMissed() miss {
	if len(s.missed) == 0 {
		return miss{}
	}
	return s.missed[len(s.missed)-1]
}

// mayRetest reports whether the lowest rate that missed may meet the SLO if it is tried again.
func (s *search) mayRetest() bool { return len(s.missed) > 0 && !s.lowestMissed().final }

// retest tries the lowest rate that missed once more.
func (s *search) retest(ctx context.Context) error {
	lowest := &s.missed[len(s.missed)-1]
	outcome, err := s.outcome(ctx, Step{Rate: lowest.rate})
	if err != nil {
		return err
	}
	if outcome == Met {
		s.met = append(s.met, lowest.rate)
		s.missed = s.missed[:len(s.missed)-1]
		return nil
	}
	lowest.final = true
	lowest.clientLimited = lowest.clientLimited || outcome == ClientLimited
	return nil
}

// highest returns the highest rate that met the SLO; 0 if there is none.
func (s *search) highest() int {
	if len(s.met) == 0 {
		return 0
	}
	return s.met[len(s.met)-1]
}

// converged reports whether the highest rate is known and can be confirmed.
func (s *search) converged() bool {
	if len(s.missed) == 0 {
		return s.highest() == attack.MaxRate
	}
	missed := s.lowestMissed().rate
	return missed-s.highest() <= max(missed/precision, 1)
}

// next returns the next rate to try.
func (s *search) next() int {
	if len(s.missed) == 0 {
		return min(2*s.highest(), attack.MaxRate)
	}
	return (s.highest() + s.lowestMissed().rate) / 2
}

func (s *search) result() Result {
	return Result{Highest: s.highest(), ClientLimited: s.lowestMissed().clientLimited}
}
