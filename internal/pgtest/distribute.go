package pgtest

import (
	"net/url"
	"os"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"
)

// distributeEnv names an SQL statement that distributes the table users over several servers. It makes tests use a new
// schema in the database of POINTS_TEST_DATABASE_URL instead of a new database: each new database would need
// its workers set up.
const distributeEnv = "POINTS_TEST_DISTRIBUTE"

// Distributed reports whether tests run on tables that are distributed over several servers.
func Distributed() bool { return os.Getenv(distributeEnv) != "" }

// Distribute distributes the new table users if Distributed.
func Distribute(t testing.TB, pool *pgxpool.Pool) {
	t.Helper()
	if !Distributed() {
		return
	}
	if _, err := pool.Exec(t.Context(), os.Getenv(distributeEnv)); err != nil {
		t.Fatalf("pgtest: %s: %v", distributeEnv, err)
	}
}

// inSchema returns the connection string, which must be a URL, with this schema as search_path.
func inSchema(connection, schema string) string {
	u, err := url.Parse(connection)
	if err != nil {
		return connection
	}
	query := u.Query()
	query.Set("search_path", schema)
	u.RawQuery = query.Encode()
	return u.String()
}
