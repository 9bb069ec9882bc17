package cputime

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

func TestShareSince(t *testing.T) {
	usage := func(used, waited float64) Usage {
		return Usage{Used: time.Duration(used * float64(time.Second)), Waited: time.Duration(waited * float64(time.Second))}
	}
	tests := map[string]struct {
		before, after Usage
		elapsed       time.Duration
		cpus          int
		want          Share
		saturated     bool
		text          string
	}{
		"idle":           {usage(1, 1), usage(1, 1), time.Second, 1, Share{}, false, "it used 0% of its CPU time"},
		"all of one CPU": {usage(1, 0), usage(3, 0), 2 * time.Second, 1, Share{Used: 1}, true, "it used 100% of its CPU time"},
		"half of two":    {usage(0, 0), usage(2, 0), 2 * time.Second, 2, Share{Used: 0.5}, false, "it used 50% of its CPU time"},
		"waits": {
			usage(0, 0), usage(0.5, 2), time.Second, 1, Share{Used: 0.5, Waited: 2}, true,
			"it had a CPU for only 50% of the time it needed one: stop other programs here, or use another machine",
		},
		"waits a little": {
			usage(0, 0), usage(0.6, 0.2), time.Second, 1, Share{Used: 0.6, Waited: 0.2}, false,
			"it had a CPU for only 75% of the time it needed one: stop other programs here, or use another machine",
		},
		"uses most of it": {usage(0, 0), usage(0.95, 2), time.Second, 1, Share{Used: 0.95, Waited: 2}, true, "it used 95% of its CPU time"},
		"idle on a busy machine": {
			usage(0, 0), usage(0.1, 2), time.Second, 1, Share{Used: 0.1, Waited: 2}, false,
			"it had a CPU for only 10% of the time it needed one: stop other programs here, or use another machine",
		},
		"a thread has ended":  {usage(0, 5), usage(0.5, 2), time.Second, 1, Share{Used: 0.5}, false, "it used 50% of its CPU time"},
		"no time has elapsed": {usage(0, 0), usage(1, 0), 0, 1, Share{}, false, "it used 0% of its CPU time"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got := tt.after.ShareSince(tt.before, tt.elapsed, tt.cpus)
			assert.InDelta(t, tt.want.Used, got.Used, 1e-9)
			assert.InDelta(t, tt.want.Waited, got.Waited, 1e-9)
			assert.Equal(t, tt.saturated, got.Saturated())
			assert.Equal(t, tt.text, got.String())
		})
	}
}
