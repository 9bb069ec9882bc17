//go:build unix

package main

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
)

// The checks of a cluster reject mutants, and only those. A mutant is not wrong in each query, and on a slow machine some
// answers that show it are lost, so each has several rounds.
func TestClusterMutants(t *testing.T) {
	t.Parallel()
	nothing := func(*cluster, *pgx.Conn) {}
	for _, test := range []struct {
		name   string
		args   []string // of the servers
		mutate func(*cluster, *pgx.Conn)
		round  func(*cluster, *pgx.Conn) // at the beginning of each round
		want   []string                  // the error contains one of them; there is no error if it is nil
	}{
		{"none", nil, nothing, resetClock, nil},
		{
			"a state in each process", []string{"-shared=false"}, nothing, nothing,
			[]string{"the same previous timestamp", "did not run at that time"},
		},
		{
			"users read before the order lock", nil, readBeforeLock, nothing,
			[]string{"does not have more than", "cannot have", "is missing"},
		},
		{
			"no bound of the timestamps after a reset", nil, forgetBound, resetClock,
			[]string{"did not run at that time", "the same previous timestamp"},
		},
		{
			"ticks claimed twice", nil, claimTwice, nothing,
			// The second claim is too early, or only its transaction ends when the tick is due.
			[]string{"is before its time", "is due less than an interval after"},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			c := startCluster(t, clusterOptions{args: append(test.args, "-interval=100ms")})
			conn := c.connect()
			test.mutate(c, conn)
			rounds := 20
			if test.want == nil {
				rounds = 2
			}
			for i := range rounds {
				if i > 0 {
					c.audit.start(t)
					c.clients = startClusterLoad(t, c.proxy, c.history)
				}
				err := c.round(conn, test.round)
				switch {
				case test.want == nil:
					require.NoError(t, err)
				case containsAny(err, test.want):
					return
				default:
					t.Logf("round %d has not found the mutant: %v", i+1, err)
				}
			}
			require.Nil(t, test.want, "no round has found the mutant")
		})
	}
}

// round makes some queries, stops the clients and the audit, and checks what they have seen so far. The servers go on.
func (c *cluster) round(conn *pgx.Conn, begin func(*cluster, *pgx.Conn)) error {
	c.t.Helper()
	begin(c, conn)
	n := c.clients.answered() + 500
	c.until("answer", func() bool { return c.clients.answered() > n })
	c.clients.stop()
	c.audit.stop()
	_, err := c.audit.check()
	return errors.Join(c.history.Check(), err)
}

// containsAny reports whether the text of an error contains one of these.
func containsAny(err error, texts []string) bool {
	return err != nil && slices.ContainsFunc(texts, func(text string) bool { return strings.Contains(err.Error(), text) })
}

// readBeforeLock makes a batch read the users before it gets the order lock. So does a batch of one statement: its
// snapshot is older than the lock that it waits for.
func readBeforeLock(c *cluster, conn *pgx.Conn) {
	var results string // but the users
	require.NoError(c.t, conn.QueryRow(c.t.Context(), `SELECT string_agg('answer.' || name, ', ')
		FROM pg_proc, unnest(proargnames, proargmodes) AS parameter (name, mode) WHERE oid = 'users_answer'::regproc
		AND mode = 'o' AND name <> 'found_users'`).Scan(&results))
	// A batch of 0 queries reads the users without the lock.
	body := `
DECLARE
	early bigint[];
BEGIN
	SELECT answer.found_users INTO early
		FROM public.answer_in_order(0, $2, $3, $4, $5) AS answer;
	PERFORM pg_sleep(random() / 20);
	SELECT ` + results + " INTO " + strings.ReplaceAll(results, "answer.", "") + `
		FROM public.answer_in_order($1, $2, $3, $4, $5) AS answer;
	found_users := early;
END`
	text, right := functionText(c, conn, "users_answer")
	c.exec(conn, "ALTER FUNCTION users_answer RENAME TO answer_in_order; "+strings.Replace(text, right, body, 1))
}

// forgetBound makes batches begin again after a reset of the sequence of the timestamps.
func forgetBound(c *cluster, conn *pgx.Conn) {
	replaceInFunction(c, conn, "users_answer", "SELECT nullif(reserved, 0)", "SELECT nullif(reserved, reserved)")
}

// resetClock resets the sequence of the timestamps, as crash recovery does. It holds the order lock, because a batch in
// progress undoes a reset. The bound of the timestamps takes the place of a lost query.
func resetClock(c *cluster, conn *pgx.Conn) {
	c.history.Failed(time.Now())
	c.exec(conn, `SELECT pg_advisory_xact_lock(hashtextextended('users_clock'::regclass::oid::text, 3));
		SELECT setval('users_clock', 0, false)`)
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
