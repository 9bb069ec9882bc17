package pointshttp

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/pointsapp/pointsapp/points"
)

// appendTime does what package time does, quicker.
func TestAppendTimeIsPackageTimes(t *testing.T) {
	const layout = `"2006-01-02T15:04:05.000000Z"`
	for _, at := range []time.Time{
		{},
		time.Unix(0, 0),
		time.Unix(-1, 999_999_999),
		time.Date(2024, 2, 29, 23, 59, 59, 999_999_999, time.UTC),
		time.Date(2026, 1, 1, 10, 0, 0, 0, time.FixedZone("", -12*3600)),
		time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC),
		time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC),
		time.Date(-1, 1, 1, 0, 0, 0, 0, time.UTC),
	} {
		assert.Equal(t, at.UTC().Format(layout), string(appendTime(nil, at)))
	}
	rapid.Check(t, func(t *rapid.T) {
		const year = 366 * 24 * 3600
		seconds := rapid.Int64Range(-3000*year, 10_000*year).Draw(t, "seconds")
		nanoseconds := rapid.Int64Range(0, 999_999_999).Draw(t, "nanoseconds")
		zone := rapid.IntRange(-12*3600, 14*3600).Draw(t, "zone")
		at := time.Unix(seconds, nanoseconds).In(time.FixedZone("", zone))
		require.Equal(t, at.UTC().Format(layout), string(appendTime(nil, at)))
	})
}

// The hand-written encoder has the same output as package encoding/json.
func TestAnswersAreJSON(t *testing.T) {
	at := time.Date(2026, 1, 1, 10, 0, 0, 120_000_000, time.UTC)
	users := []points.User{{ID: 17, Points: 93, InsertedAt: at, UpdatedAt: at.Add(time.Microsecond)}, {ID: -4}}
	h := NewHandler(nil, Config{})
	for name, test := range map[string]struct {
		result points.Result
		want   string
	}{
		"no users, no query before": {
			points.Result{Users: []points.User{}},
			`{"users":[],"timestamp":null}`,
		},
		"one user": {
			points.Result{Users: users[:1], PreviousTimestamp: at},
			`{"users":[{"id":17,"points":93,"inserted_at":"2026-01-01T10:00:00.120000Z",` +
				`"updated_at":"2026-01-01T10:00:00.120001Z"}],"timestamp":"2026-01-01T10:00:00.120000Z"}`,
		},
		"two users": {
			points.Result{Users: users, PreviousTimestamp: at},
			`{"users":[{"id":17,"points":93,"inserted_at":"2026-01-01T10:00:00.120000Z",` +
				`"updated_at":"2026-01-01T10:00:00.120001Z"},{"id":-4,"points":0,` +
				`"inserted_at":"0001-01-01T00:00:00.000000Z","updated_at":"0001-01-01T00:00:00.000000Z"}],` +
				`"timestamp":"2026-01-01T10:00:00.120000Z"}`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			got := h.appendResult(nil, test.result)
			assert.Equal(t, test.want, string(got))
			var decoded struct {
				Users     []points.User `json:"users"`
				Timestamp time.Time     `json:"timestamp"`
			}
			require.NoError(t, json.Unmarshal(got, &decoded))
			assert.Equal(t, test.result.Users, decoded.Users)
			assert.Equal(t, test.result.PreviousTimestamp, decoded.Timestamp)
		})
	}
}

func BenchmarkAppendTime(b *testing.B) {
	at := time.Date(2026, 1, 1, 10, 0, 0, 120_000_000, time.UTC)
	buffer := make([]byte, 0, 64)
	b.Run("appendTime", func(b *testing.B) {
		for b.Loop() {
			buffer = appendTime(buffer[:0], at)
		}
	})
	b.Run("AppendFormat", func(b *testing.B) {
		for b.Loop() {
			buffer = at.AppendFormat(buffer[:0], `"2006-01-02T15:04:05.000000Z"`)
		}
	})
}
