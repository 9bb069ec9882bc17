package attack

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// MaxRate is the highest rate of a Schedule, in requests per second.
const MaxRate = 10_000_000

// minRate is the lowest rate of a Schedule, in requests per second: one in ten days.
const minRate = 1e-6

// A Rate is an offered rate in requests per second: constant if From equals To, otherwise a linear ramp.
type Rate struct {
	From, To float64
}

// ParseRate parses a rate such as "5000", "0.5", "60/m" or "1000:20000". A unit is s, m, h, or a duration: "100/5s".
func ParseRate(s string) (Rate, error) {
	from, to, isRamp := strings.Cut(s, ":")
	if !isRamp {
		to = from
	}
	var r Rate
	var okFrom, okTo bool
	r.From, okFrom = parsePerSecond(from)
	r.To, okTo = parsePerSecond(to)
	if !okFrom || !okTo {
		return Rate{}, fmt.Errorf("must be a number of requests per second up to %d, such as 5000, 0.5 or 60/m, "+
			"or a ramp such as 1000:20000, got %q", MaxRate, s)
	}
	return r, nil
}

// parsePerSecond parses a number of requests, per second or per the unit after the slash.
func parsePerSecond(s string) (rate float64, ok bool) {
	number, unit, hasUnit := strings.Cut(s, "/")
	rate, err := strconv.ParseFloat(number, 64)
	if err != nil {
		return 0, false
	}
	if hasUnit {
		if unit == "s" || unit == "m" || unit == "h" {
			unit = "1" + unit
		}
		per, err := time.ParseDuration(unit)
		if err != nil || per <= 0 {
			return 0, false
		}
		rate /= per.Seconds()
	}
	return rate, rate >= minRate && rate <= MaxRate // false for NaN
}

// String returns the rate in the form that ParseRate accepts, rounded to a millionth.
func (r Rate) String() string {
	if r.From == r.To {
		return formatRate(r.From)
	}
	return formatRate(r.From) + ":" + formatRate(r.To)
}

func formatRate(rate float64) string {
	const precision = 1e6
	return strconv.FormatFloat(math.Round(rate*precision)/precision, 'f', -1, 64)
}
