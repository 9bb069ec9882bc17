package backend

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Errors that a test cannot provoke on a real server. The tests TestUnfit and TestUnreachable have the others.
func TestExplain(t *testing.T) {
	t.Parallel()
	cfg, err := pgx.ParseConfig("postgres://me:s3cret@db:6432/points")
	require.NoError(t, err)
	reported := func(code string) error {
		return fmt.Errorf("pgstore: filling\n\ttable users: %w", &pgconn.PgError{Severity: "ERROR", Code: code, Message: "no"})
	}
	for want, err := range map[string]error{
		"no: close others, raise max_connections, or lower pool_max_conns in the URL (4 are needed)":                               reported("53300"),
		"no: start the server again when it is up":                                                                                 reported("57P03"),
		"pgstore: filling table users: ERROR: no (SQLSTATE 53100)":                                                                 reported("53100"),
		"pgstore: filling table users: ERROR: no (SQLSTATE 57014): raise statement_timeout (ALTER ROLE ... SET statement_timeout)": reported("57014"),
		"no: role me may not migrate the table (start the server once as its owner, or GRANT CREATE ON SCHEMA ... TO me), nor use it as it is: GRANT A TO me; GRANT B TO me": fmt.Errorf(
			"%w (%w)", reported("42501"), unfitError{errors.New("GRANT A; GRANT B")}),
		"the connection was lost: reading: unexpected EOF: start the server again": fmt.Errorf(
			"reading: %w", io.ErrUnexpectedEOF),
		"the connection was lost: read tcp: reset: start the server again": &net.OpError{
			Op: "read", Net: "tcp", Err: errors.New("reset"),
		},
		"it is a view: change or rename the table, or use another database, see -database-url (DATABASE_URL)": errors.New(
			"it is a view"),
		`table users: the role needs the right to use its schema: GRANT USAGE ON SCHEMA "public" TO me`: errors.New(
			`table users: the role needs the right to use its schema: GRANT USAGE ON SCHEMA "public"`),
		"rights: GRANT SELECT ON a TO me; GRANT UPDATE ON b TO me": errors.New("rights: GRANT SELECT ON a; GRANT UPDATE ON b"),
	} {
		assert.EqualError(t, explain(err, cfg), "PostgreSQL at db:6432: "+want)
	}
}

// The statements that errors name can be copied, whatever the role and the database are called.
func TestExplainQuotesNames(t *testing.T) {
	t.Parallel()
	cfg, err := pgx.ParseConfig("postgres://My-App@db:6432/points")
	require.NoError(t, err)
	denied := &pgconn.PgError{Severity: "ERROR", Code: "42501", Message: "no"}
	for want, err := range map[string]error{
		`GRANT A TO "My-App"; GRANT B TO "My-App"`: errors.New("GRANT A; GRANT B"),
		`USAGE on its sequence TO "My-App")`:       seedError{denied},
		`GRANT CREATE ON SCHEMA ... TO "My-App")`:  denied,
	} {
		assert.ErrorContains(t, explain(err, cfg), want)
	}
}

// A connection string may list several hosts; pgx tries each with and without TLS.
func TestExplainNamesAllHosts(t *testing.T) {
	t.Parallel()
	cfg, err := pgx.ParseConfig("postgres://me@one:5432,two:6432,one:5433/points?sslmode=prefer")
	require.NoError(t, err)
	assert.EqualError(t, explain(io.ErrUnexpectedEOF, cfg), "PostgreSQL at one:5432, two:6432, one:5433: "+
		"the connection was lost: unexpected EOF: start the server again")
}

// pgx lists a failure to connect once with TLS and once without.
func TestOneLine(t *testing.T) {
	t.Parallel()
	assert.Equal(t, "failed: 127.0.0.1:1: refused [::1]:1: refused",
		OneLine(errors.New("failed:\n\t127.0.0.1:1: refused\n\t127.0.0.1:1:  refused\n\t[::1]:1: refused")))
}

// Errors of the resolver and of the dialer, without a network.
func TestExplainConnect(t *testing.T) {
	t.Parallel()
	cfg, err := pgx.ParseConfig("postgres://me:s3cret@db.invalid:6432/points?sslmode=disable")
	require.NoError(t, err)
	for name, test := range map[string]struct {
		lookup, dial error
		want         string
	}{
		"no such host": {
			&net.DNSError{Err: "no such host", Name: "db.invalid", IsNotFound: true}, nil,
			"no such host: see -database-url (DATABASE_URL)",
		},
		"anything else": {
			nil, errors.New("no route\nto host"),
			"cannot connect: 192.0.2.1:6432 (db.invalid): dial error: no route to host: see -database-url (DATABASE_URL)",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cfg := cfg.Copy()
			cfg.LookupFunc = func(context.Context, string) ([]string, error) { return []string{"192.0.2.1"}, test.lookup }
			cfg.DialFunc = func(context.Context, string, string) (net.Conn, error) { return nil, test.dial }
			_, err := pgx.ConnectConfig(t.Context(), cfg)
			require.Error(t, err)
			assert.EqualError(t, explain(err, cfg), "PostgreSQL at db.invalid:6432: "+test.want)
		})
	}
}
