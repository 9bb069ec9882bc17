// Package findmax searches for the highest rate at which a run succeeds.
//
//	result, err := findmax.Search(ctx, 1000, func(ctx context.Context, step findmax.Step) (findmax.Outcome, error) {
//		return measure(ctx, step.Rate, step.Confirm)
//	})
package findmax

import (
	"context"

	"github.com/pointsapp/pointsapp/loadtest/internal/attack"
)

// precision is the inverse of the relative error of the result: 1/20.
const precision = 20

// An Outcome is the result of a step.
type Outcome int

const (
	// Met means that the rate is at most the highest one.
	Met Outcome = iota
	// Missed means that the rate is too high.
	Missed
	// ClientLimited means that the client could not generate the rate, so that nothing is known about the server.
	ClientLimited
	// NoSuccess means that no request succeeded: the rate is much too high, or the server does not work.
	NoSuccess
)

// A Step is a rate to try.
type Step struct {
	Rate int // requests per second

	// Confirm asks for a longer run. The search ends if it succeeds.
	Confirm bool
}

// A Result is the result of a search.
type Result struct {
	// Highest is the highest rate that succeeded, in requests per second; 0 if there is none.
	Highest int

	// ClientLimited means that the next higher rates failed because of the client: the server may be capable of more.
	ClientLimited bool

	// NoSuccess means that no request succeeded at the first rate, nor at the lowest one.
	NoSuccess bool
}

// lowest is the lowest rate, in requests per second.
const lowest = 1

// Search returns the highest rate at which try succeeds, within 5%. It doubles the rate from first until try fails, and
// then bisects. It assumes that try fails at all rates above some limit, but not that it always succeeds below it: a
// rate fails only if try fails twice, and the result succeeds once more in a step with Confirm. When try returns an
// error or ctx ends, Search returns the highest rate so far and the error.
//
// A server may reject all requests because of the rate, so if none succeeds at first, Search tries the lowest rate. If
// none succeeds there, either, the server does not work, and the search ends.
func Search(
	ctx context.Context, first int, try func(ctx context.Context, step Step) (Outcome, error),
) (Result, error) {
	s := search{try: try}
	if dead, err := s.isDead(ctx, first); dead || err != nil {
		return Result{NoSuccess: dead}, err
	}
	for rate := first; ; rate = s.next() {
		if err := s.step(ctx, Step{Rate: rate}); err != nil {
			return s.result(), err
		}
		for s.converged() {
			confirmed := s.highest()
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
	try           func(ctx context.Context, step Step) (Outcome, error)
	met           []int // rates that succeeded, ascending
	bad           int   // lowest rate that failed; 0 means none
	clientLimited bool  // bad failed because of the client

	tried *Outcome // of the first rate, for the first step; nil after it
}

// isDead tries the first rate, and the lowest one if no request succeeds. It reports whether none succeeds there
// either.
func (s *search) isDead(ctx context.Context, first int) (bool, error) {
	outcome, err := s.outcome(ctx, Step{Rate: first})
	s.tried = &outcome
	if err != nil || outcome != NoSuccess {
		return false, err
	}
	s.tried = nil
	low, err := s.outcome(ctx, Step{Rate: lowest})
	s.tried = &outcome
	if err == nil && low == Met && first > lowest {
		s.met = append(s.met, lowest)
	}
	return low == NoSuccess, err
}

// outcome returns the outcome of a step. That of the very first one is already known.
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

// step tries a rate, and once more if it fails.
func (s *search) step(ctx context.Context, step Step) error {
	limited := false
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
	}
	s.bad, s.clientLimited = step.Rate, limited
	for s.highest() >= s.bad { // it failed to be confirmed
		s.met = s.met[:len(s.met)-1]
	}
	return nil
}

// highest returns the highest rate that succeeded; 0 if there is none.
func (s *search) highest() int {
	if len(s.met) == 0 {
		return 0
	}
	return s.met[len(s.met)-1]
}

// converged reports whether the highest rate is known, but for a confirmation.
func (s *search) converged() bool {
	if s.bad == 0 {
		return s.highest() == attack.MaxRate
	}
	return s.bad-s.highest() <= max(s.bad/precision, 1)
}

// next returns the next rate to try.
func (s *search) next() int {
	if s.bad == 0 {
		return min(2*s.highest(), attack.MaxRate)
	}
	return (s.highest() + s.bad) / 2
}

func (s *search) result() Result {
	return Result{Highest: s.highest(), ClientLimited: s.clientLimited}
}
