package e2e_test

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

// An order checks that the answers of all servers have one order: sorted by the timestamps that they return, each one
// is the time of the query before it. So none is missing and none comes too early or too late. A query without a
// timestamp in its answer may have a place in the order, too, and explains one timestamp of no other query.
type order struct {
	answered, unknown []placed
}

// A placed query has a place in the order at some time between its call and its return, in microseconds. One whose
// outcome is unknown may still be running when its caller gives up.
type placed struct{ previous, called, returned int64 }

const (
	batchTime   = 50 // µs: the queries of a batch have the microseconds up to its time
	stillRuns   = int64(10 * time.Second / time.Microsecond)
	timeOfOrder = "2006-01-02T15:04:05.000000Z"
)

// add adds a query and the timestamp in its answer, which is zero if there is none.
func (o *order) add(previous, called, returned time.Time) {
	q := placed{called: called.UnixMicro(), returned: returned.UnixMicro()}
	if previous.IsZero() {
		o.unknown = append(o.unknown, q)
		return
	}
	q.previous = previous.UnixMicro()
	o.answered = append(o.answered, q)
}

// check checks the queries so far, and keeps what it needs to check further ones. No query may be in progress.
func (o *order) check() error {
	slices.SortFunc(o.answered, func(a, b placed) int { return cmp.Compare(a.previous, b.previous) })
	slices.SortFunc(o.unknown, func(a, b placed) int { return cmp.Compare(a.returned, b.returned) })
	for i, q := range o.answered {
		if q.previous > q.returned+batchTime {
			return fmt.Errorf("%v is in the future", q)
		}
		if i == 0 {
			continue
		}
		switch before := o.answered[i-1]; {
		case q.previous == before.previous:
			return fmt.Errorf("%v returns the same timestamp as %v", q, before)
		case q.previous < before.called-batchTime:
			return fmt.Errorf("%v has no place after %v, which was called later", q, before)
		case q.previous > before.returned+batchTime && !o.explain(q.previous):
			return fmt.Errorf("%v comes after %v, but no query has its timestamp", q, before)
		}
	}
	if n := len(o.answered); n > 0 {
		o.answered = slices.Clone(o.answered[n-1:])
		o.unknown = slices.DeleteFunc(o.unknown, func(u placed) bool { return u.returned+stillRuns < o.answered[0].previous })
	}
	return nil
}

// explain reports whether a query whose outcome is unknown may have this timestamp. Each of them has one at most.
func (o *order) explain(timestamp int64) bool {
	i := slices.IndexFunc(o.unknown, func(u placed) bool {
		return u.called-batchTime <= timestamp && timestamp <= u.returned+stillRuns
	})
	if i >= 0 {
		o.unknown = slices.Delete(o.unknown, i, i+1)
	}
	return i >= 0
}

func (q placed) String() string {
	at := func(micros int64) string { return time.UnixMicro(micros).UTC().Format(timeOfOrder) }
	return fmt.Sprintf("the query called %s, answered %s with %s", at(q.called), at(q.returned), at(q.previous))
}

// The check of the order accepts what a right engine does, and rejects mutants.
func TestOrderOfProber(t *testing.T) {
	t.Parallel()
	const ms = 1000
	unknown := func(called, returned int64) placed { return placed{-1, called * ms, returned * ms} }
	for name, test := range map[string]struct {
		queries  []placed // in microseconds since the start, which is the first timestamp
		err      string
		together bool // the queries
	}{
		"one after the other":         {[]placed{{0, 1 * ms, 2 * ms}, {1500, 3 * ms, 4 * ms}, {3500, 5 * ms, 6 * ms}}, "", false},
		"at the same time":            {[]placed{{2000, 1 * ms, 9 * ms}, {0, 1 * ms, 9 * ms}, {4000, 1 * ms, 9 * ms}}, "", true},
		"after a failed query":        {[]placed{{0, 1 * ms, 2 * ms}, unknown(3, 4), {3500, 5 * ms, 6 * ms}}, "", false},
		"after a failed one, later":   {[]placed{{0, 1 * ms, 2 * ms}, unknown(3, 4), {7000, 8 * ms, 9 * ms}}, "", false},
		"the same timestamp":          {[]placed{{0, 1 * ms, 2 * ms}, {0, 1 * ms, 2 * ms}}, "the same timestamp", false},
		"of another order":            {[]placed{{0, 1 * ms, 2 * ms}, {500, 3 * ms, 4 * ms}}, "no place after", false},
		"in the future":               {[]placed{{5000, 1 * ms, 2 * ms}}, "in the future", false},
		"of no query":                 {[]placed{{0, 1 * ms, 2 * ms}, {2500, 3 * ms, 4 * ms}}, "no query has its timestamp", false},
		"of no query, which failed":   {[]placed{{0, 1 * ms, 2 * ms}, unknown(3, 4), {2500, 5 * ms, 6 * ms}}, "no query has its timestamp", false},
		"one failed query, two times": {[]placed{{0, 1 * ms, 2 * ms}, unknown(3, 4), {3500, 4 * ms, 5 * ms}, {6000, 7 * ms, 8 * ms}}, "no query has its timestamp", false},
		"an answer from long before":  {[]placed{{0, 1 * ms, 2 * ms}, unknown(3, 4), {20_000_000, 20_000_000, 20_001_000}}, "no query has its timestamp", false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, each := range []bool{false, true} { // check also after each query
				start := time.Now()
				at := func(micros int64) time.Time { return start.Add(time.Duration(micros) * time.Microsecond) }
				var o order
				var err error
				for _, q := range test.queries {
					previous := at(q.previous)
					if q.previous < 0 {
						previous = time.Time{}
					}
					o.add(previous, at(q.called), at(q.returned))
					if each && !test.together {
						err = errors.Join(err, o.check())
					}
				}
				err = errors.Join(err, o.check())
				if test.err == "" {
					assert.NoError(t, err)
				} else {
					assert.ErrorContains(t, err, test.err)
				}
			}
		})
	}
}
