//go:build unix

package main

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// The checks of a cluster reject mutants.
func TestClusterMutants(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name   string
		args   []string // of the servers
		mutate func(*cluster, *pgx.Conn)
		want   []string // the error contains one of them
	}{
		{
			"a state in each process", []string{"-shared=false"}, func(*cluster, *pgx.Conn) {},
			[]string{"the same previous timestamp"},
		},
		{
			"users read before the order lock", nil, readBeforeLock,
			[]string{"does not have more than", "cannot have", "is missing"},
		},
		{
			"no bound of the timestamps after a reset", nil, forgetBound,
			[]string{"did not run at that time", "the same previous timestamp"},
		},
		{
			"ticks claimed twice", nil, claimTwice,
			[]string{"is before its time"},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			c := startCluster(t, clusterOptions{args: append(test.args, "-interval=100ms")})
			test.mutate(c, c.connect())
			n := c.clients.answered() + 1000
			c.until("answer", func() bool { return c.clients.answered() > n })
			c.stop()
			_, err := c.audit.check()
			err = errors.Join(c.history.Check(), err)
			require.Error(t, err)
			assert.True(t, slices.ContainsFunc(test.want, func(want string) bool {
				return strings.Contains(err.Error(), want)
			}), err.Error())
		})
	}
}

// readBeforeLock makes a batch read the users before it gets the order lock. So does a batch of one statement: its
// snapshot is older than the lock that it waits for.
func readBeforeLock(c *cluster, conn *pgx.Conn) {
	var results string // but the users
	require.NoError(c.t, conn.QueryRow(c.t.Context(), `SELECT string_agg('answer.' || name, ', ')
		FROM pg_proc, unnest(proargnames, proargmodes) AS parameter (name, mode) WHERE oid = 'users_answer'::regproc
		AND mode = 'o' AND name NOT IN ('ids', 'user_points', 'inserted', 'updated')`).Scan(&results))
	// A batch of 0 queries reads the users without the lock.
	body := `
DECLARE
	early record;
BEGIN
	SELECT answer.ids, answer.user_points, answer.inserted, answer.updated INTO early
		FROM public.answer_in_order(0, $2, $3, $4, $5) AS answer;
	PERFORM pg_sleep(random() / 20);
	SELECT ` + results + " INTO " + strings.ReplaceAll(results, "answer.", "") + `
		FROM public.answer_in_order($1, $2, $3, $4, $5) AS answer;
	ids := early.ids; user_points := early.user_points; inserted := early.inserted; updated := early.updated;
END`
	text, right := functionText(c, conn, "users_answer")
	c.exec(conn, "ALTER FUNCTION users_answer RENAME TO answer_in_order; "+strings.Replace(text, right, body, 1))
}

// forgetBound resets the sequence of the timestamps, as crash recovery does, and makes batches begin again.
func forgetBound(c *cluster, conn *pgx.Conn) {
	replaceInFunction(c, conn, "users_answer", "SELECT nullif(reserved, 0)", "SELECT nullif(reserved, reserved)")
	for range 10 { // a batch in progress may undo one of them
		c.exec(conn, "SELECT setval('users_clock', 0, false)")
	}
}

// claimTwice removes the second look at the schedule, under the order lock.
func claimTwice(c *cluster, conn *pgx.Conn) {
	replaceInFunction(c, conn, "users_sync",
		"WHERE NOT paused AND tick_interval > 0 AND (next_tick <= clock_now", "WHERE (true")
	const wait = "	PERFORM pg_sleep(0.02);\n" // so that other servers see the same schedule
	replaceInFunction(c, conn, "users_sync", "	changes := ", wait+"	changes := ")
}

// replaceInFunction replaces the first occurrence of a part of a function.
func replaceInFunction(c *cluster, conn *pgx.Conn, function, old, part string) {
	c.t.Helper()
	text, _ := functionText(c, conn, function)
	require.Contains(c.t, text, old)
	c.exec(conn, strings.Replace(text, old, part, 1))
}

// functionText returns the statement that creates a function, and its body in it.
func functionText(c *cluster, conn *pgx.Conn, function string) (text, body string) {
	c.t.Helper()
	require.NoError(c.t, conn.QueryRow(c.t.Context(),
		"SELECT pg_get_functiondef(oid), prosrc FROM pg_proc WHERE oid = $1::regproc", function).Scan(&text, &body))
	return text, body
}
