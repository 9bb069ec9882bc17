package pgtest_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/pointsapp/pointsapp/internal/pgtest"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(pgtest.Main(m))
}

func TestPool(t *testing.T) {
	for range 3 {
		t.Run("", func(t *testing.T) {
			t.Parallel()
			pool := pgtest.Pool(t)
			var tables int
			require.NoError(t, pool.QueryRow(t.Context(),
				"SELECT count(*) FROM pg_tables WHERE schemaname = 'public'").Scan(&tables))
			assert.Zero(t, tables)
			_, err := pool.Exec(t.Context(), "CREATE TABLE users ()")
			require.NoError(t, err)
		})
	}
}
