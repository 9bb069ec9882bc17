package cli

import (
	"bytes"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/pointsapp/pointsapp/loadtest/internal/record"
	"github.com/pointsapp/pointsapp/loadtest/internal/transport"
)

func TestHistogram(t *testing.T) {
	d := record.NewDistribution()
	for range 100 {
		d.Add(150 * time.Microsecond)
	}
	for range 49 {
		d.Add(700 * time.Microsecond)
	}
	d.Add(20 * time.Millisecond)
	assert.Equal(t, ""+
		"       0.2        100  ##################################################\n"+
		"       0.5          0\n"+
		"         1         49  #########################\n"+
		"         2          0\n"+
		"         5          0\n"+
		"        10          0\n"+
		"        20          1  #\n", histogram(d))
}

func TestHistogramBounds(t *testing.T) {
	assert.Equal(t, []time.Duration{time.Microsecond}, histogramBounds(0, 0))
	assert.Equal(t, []time.Duration{time.Millisecond, 2 * time.Millisecond},
		histogramBounds(501*time.Microsecond, 1001*time.Microsecond))
	assert.Equal(t, 5000*time.Second, histogramBounds(time.Hour, time.Hour)[0])
}

func TestPrintOutcomes(t *testing.T) {
	recorder := record.New(record.Options{})
	for status, n := range map[int]int{200: 3, 503: 2} {
		for range n {
			recorder.Observe(&transport.Exchange{Status: status})
		}
	}
	recorder.Observe(&transport.Exchange{Failure: transport.Receive, Err: errors.New("reset")})
	var out bytes.Buffer
	c := command{stdout: &out}
	s := recorder.Summary(time.Second)
	c.printOutcomes(&s)
	assert.Equal(t, "\nStatus codes\n      200          3\n      503          2\n\nErrors\n                   1  reset\n", out.String())
}
