package contract

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/pointsapp/pointsapp/loadtest/internal/transport"
)

var start = time.Date(2026, 1, 1, 10, 0, 0, 0, time.UTC)

// body returns a valid response with a timestamp the given time after start.
func body(after time.Duration) string {
	return fmt.Sprintf(`{"users":[{"id":-1,"points":1,"inserted_at":"2026-01-01T00:00:00.000000Z","updated_at":"x"},`+
		`{"id":9,"points":100}],"timestamp":%q}`, start.Add(after).Format("2006-01-02T15:04:05.000000Z07:00"))
}

const null = `{"users":[],"timestamp":null}`

func TestChecker(t *testing.T) {
	tests := map[string]struct {
		bodies []string // arriving one second apart, the first after one second
		want   string   // in the violation; "" means none
		off    bool     // no response is checked
	}{
		"valid":              {bodies: []string{null, body(1), body(2 * time.Second)}},
		"more members":       {bodies: []string{`{"x":{"y":[1]},"timestamp":null,"users":[{"points":5,"id":[]}]}`}},
		"three users":        {bodies: []string{`{"users":[{"points":1},{"points":2},{"points":3}],"timestamp":null}`}, want: "3 users"},
		"0 points":           {bodies: []string{`{"users":[{"points":0}],"timestamp":null}`}, want: "0 points"},
		"101 points":         {bodies: []string{`{"users":[{"points":5},{"points":101}],"timestamp":null}`}, want: "101 points"},
		"no points":          {bodies: []string{`{"users":[{"id":1}],"timestamp":null}`}, want: "-1 points"},
		"a user twice":       {bodies: []string{`{"users":[{"id":9,"points":5},{"points":6,"id":9}],"timestamp":null}`}, want: "two users with the id 9"},
		"two nulls":          {bodies: []string{null, null}, want: "second null"},
		"the same twice":     {bodies: []string{body(1000), body(2000), body(1000)}, want: "returned twice"},
		"another nanosecond": {bodies: []string{body(1000), body(1999)}, want: "returned twice"},
		"slightly ahead":     {bodies: []string{body(0), body(2*time.Second + time.Millisecond)}},
		"from the future":    {bodies: []string{body(0), body(2*time.Second + 1001*time.Microsecond)}, want: "1.001ms after the arrival"},
		"old":                {bodies: []string{body(-time.Hour)}},
		"ancient":            {bodies: []string{`{"users":[],"timestamp":"1900-01-01T00:00:00Z"}`}},
		"other server":       {bodies: []string{"hello", body(0), "hello"}, off: true},
		"then other body":    {bodies: []string{null, "hello"}, want: "not a PointsApp response"},
		"then no users":      {bodies: []string{null, `{"timestamp":null}`}, want: "users or timestamp is missing"},
		"then null users":    {bodies: []string{null, `{"users":null,"timestamp":"2026-01-01T10:00:00Z"}`}, want: "not a PointsApp response"},
		"then bad time":      {bodies: []string{null, `{"users":[],"timestamp":"yesterday"}`}, want: "not a PointsApp response"},
		"then a tail":        {bodies: []string{null, body(0) + "x"}, want: "not a PointsApp response"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			c := New(Auto, start, true)
			for i, b := range tt.bodies {
				c.Check(&transport.Exchange{Status: 200, Done: time.Duration(i+1) * time.Second, Body: []byte(b)})
			}
			got := c.Result()
			if tt.off {
				assert.Equal(t, Result{}, got)
				return
			}
			assert.True(t, got.Checked)
			assert.EqualValues(t, len(tt.bodies), got.Responses)
			if tt.want == "" {
				assert.Zero(t, got.Violations, got.Examples)
				return
			}
			assert.EqualValues(t, 1, got.Violations)
			assert.Contains(t, got.Examples[0], tt.want)
		})
	}
}

func TestModes(t *testing.T) {
	bad := &transport.Exchange{Status: 200, Body: []byte("hello")}
	off, on := New(Off, start, true), New(On, start, true)
	for range 2 * maxExamples {
		off.Check(bad)
		on.Check(bad)
	}
	on.Check(&transport.Exchange{Status: 500, Body: []byte("oh no")})
	assert.Equal(t, Result{}, off.Result())
	got := on.Result()
	assert.EqualValues(t, 2*maxExamples, got.Violations)
	assert.Len(t, got.Examples, maxExamples)
}

// TestExampleIsOneLine checks that a response cannot add lines to the report or control the terminal.
func TestExampleIsOneLine(t *testing.T) {
	c := New(On, start, true)
	c.Check(&transport.Exchange{Status: 200, Body: []byte("hello\n\x1b[2J wörld\r\n")})
	example := c.Result().Examples[0]
	assert.True(t, strings.HasSuffix(example, ": hello  [2J wörld"), example)
	assert.False(t, strings.ContainsFunc(example, unicode.IsControl), example)
}

func TestOtherClock(t *testing.T) {
	c := New(On, start, false)
	c.Check(&transport.Exchange{Status: 200, Body: []byte(body(time.Hour))})
	assert.Zero(t, c.Result().Violations)
}

// TestTimestampSet adds a timestamp for each millisecond of five minutes, and each one again a second later.
func TestTimestampSet(t *testing.T) {
	s := newTimestampSet()
	for at := time.Duration(0); at < 5*time.Minute; at += time.Millisecond {
		require.False(t, s.add(start.Add(at)), at)
		if at > time.Second {
			require.True(t, s.add(start.Add(at-time.Second)), at)
		}
	}
	assert.False(t, s.add(start), "too old to be remembered")
}

// FuzzParse compares parse with encoding/json: a body that parse accepts must have the same users and timestamp there.
func FuzzParse(f *testing.F) {
	for _, seed := range []string{body(0), null, `{"users":[{}],"timestamp":null,"users":[]}`, `[]`, `{"users":[{"points":1e2}]}`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := parse(data)
		var p parser
		for range 2 { // the second time the users may be cached
			cached, cachedErr := p.parse(data)
			require.Equal(t, r, cached)
			require.Equal(t, err == nil, cachedErr == nil)
		}
		if err != nil || !json.Valid(data) { // jlexer is less strict about what it skips
			return
		}
		r.violation() // for any number of users
		var decoded struct {
			Users []struct {
				Points *int `json:"points"`
			} `json:"users"`
			Timestamp *time.Time `json:"timestamp"`
		}
		if json.Unmarshal(data, &decoded) != nil {
			return // a member with different case and another type
		}
		if decoded.Timestamp != nil && !r.timestamp.IsZero() {
			require.True(t, decoded.Timestamp.Equal(r.timestamp) || len(decoded.Users) != r.users)
		}
	})
}
