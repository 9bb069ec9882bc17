package main

import (
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/pointsapp/pointsapp/points"
	"github.com/pointsapp/pointsapp/points/storetest"
)

func TestStore(t *testing.T) { storetest.Run(t, newStore) }

func BenchmarkStore(b *testing.B) { storetest.Benchmark(b, newStore) }

func newStore(tb testing.TB, ids []int64) points.Store {
	tb.Helper()
	s, err := openStore(filepath.Join(tb.TempDir(), "users"), ids)
	require.NoError(tb, err)
	tb.Cleanup(func() { assert.NoError(tb, s.close()) })
	return s
}

// Users survive closing and reopening the file, which storetest cannot check.
func TestReopen(t *testing.T) {
	path := filepath.Join(t.TempDir(), "users")
	s, err := openStore(path, []int64{1, 2, 3})
	require.NoError(t, err)
	_, err = s.UpdateAll(t.Context(), 7)
	require.NoError(t, err)
	before, err := s.UsersAbove(t.Context(), -1, 10)
	require.NoError(t, err)
	require.NoError(t, s.close())

	s, err = openStore(path, []int64{4})
	require.NoError(t, err)
	after, err := s.UsersAbove(t.Context(), -1, 10)
	require.NoError(t, err)
	assert.Equal(t, before, after)
	assert.Equal(t, points.Draw(3, 7), after[2].Points)
	require.NoError(t, s.close())
}

// bbolt locks the file. Its own error is "timeout", which does not name the cause.
func TestFileInUse(t *testing.T) {
	path := filepath.Join(t.TempDir(), "users")
	s, err := openStore(path, nil)
	require.NoError(t, err)
	_, err = openStore(path, nil)
	assert.ErrorContains(t, err, path+": another process is using the file")
	require.NoError(t, s.close())
}
