//go:build unix

package main

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pointsapp/pointsapp/internal/linearizability"
	"github.com/pointsapp/pointsapp/points"
)

// createAudit makes the database record what clients cannot see: each change of the min number and of a user. A change
// takes effect after its clock_timestamp(), when its transaction commits.
const createAudit = `
CREATE TABLE audit (
	n bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	at timestamptz NOT NULL DEFAULT clock_timestamp(),
	server text NOT NULL DEFAULT current_setting('application_name'),
	step xid8 NOT NULL DEFAULT pg_current_xact_id(),
	-- Of a tick, times in microseconds:
	ticks bigint, min_number int, due bigint, next bigint, tick_interval bigint,
	-- Of a user:
	id bigint, points int, updated_at timestamptz
);
CREATE TABLE audit_gate (); -- while it is locked, a tick waits between its claim and its commit
CREATE FUNCTION audit_tick() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN
	PERFORM FROM public.audit_gate;
	INSERT INTO public.audit (ticks, min_number, due, next, tick_interval)
		VALUES (NEW.ticks, NEW.min_number, OLD.next_tick, NEW.next_tick, NEW.tick_interval);
	RETURN NULL;
END$$;
CREATE TRIGGER audit AFTER UPDATE ON users_state FOR EACH ROW
	WHEN (OLD.ticks <> NEW.ticks OR OLD.min_number <> NEW.min_number) EXECUTE FUNCTION audit_tick();
CREATE FUNCTION audit_user() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN
	INSERT INTO public.audit (id, points, updated_at) VALUES (NEW.id, NEW.points, NEW.updated_at);
	RETURN NULL;
END$$;
CREATE TRIGGER audit AFTER UPDATE ON users FOR EACH ROW EXECUTE FUNCTION audit_user()`

// An audited row is one of the table audit.
type audited struct {
	N      int64
	At     time.Time
	Server string
	Step   uint64

	Ticks                       *int64
	MinNumber                   *int
	Due, Next, TickInterval, ID *int64
	Points                      *int
	UpdatedAt                   *time.Time
}

// An audit follows the table audit and adds its rows to a history.
type audit struct {
	url     string
	history *linearizability.ClientHistory
	stop    func()

	// The latest rows that were read. Ticks commit in the order of their rows, and so do updates, but a tick may commit
	// after an update with later rows.
	lastTick, lastUser int64

	mu      sync.Mutex
	rows    []audited // all of them
	claimed []audited // ticks
	updates []update
	latest  error // of the latest reading
	err     error // of adding a row to the history
}

// An update is one update of all users.
type update struct {
	server string
	at     time.Time // updated_at of its users
	users  int
}

// start begins to follow the table, or goes on with it after a stop.
func (a *audit) start(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		a.follow(ctx)
	}()
	a.stop = sync.OnceFunc(func() { cancel(); <-done })
	t.Cleanup(a.stop)
}

// follow reads new rows until ctx ends, and then once more. It connects and reads again after a failure, at the end a
// few times.
func (a *audit) follow(ctx context.Context) {
	var conn *pgx.Conn
	defer func() {
		if conn != nil {
			conn.Close(context.WithoutCancel(ctx))
		}
	}()
	const attempts = 5
	for atEnd := 0; atEnd < attempts; {
		ended := ctx.Err() != nil
		err := a.read(context.WithoutCancel(ctx), &conn)
		switch {
		case ended && err == nil:
			atEnd = attempts
		case ended:
			atEnd++
		}
		a.mu.Lock()
		a.latest = err
		a.mu.Unlock()
		select {
		case <-ctx.Done():
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// read adds the rows that are new.
func (a *audit) read(ctx context.Context, conn **pgx.Conn) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	if *conn == nil {
		opened, err := pgx.Connect(ctx, a.url)
		if err != nil {
			return err
		}
		*conn = opened
	}
	rows, err := (*conn).Query(ctx, `SELECT n, at, server, step::text::bigint, ticks, min_number, due, next, tick_interval,
		id, points, updated_at FROM audit WHERE n > CASE WHEN ticks IS NULL THEN $1::bigint ELSE $2::bigint END ORDER BY n`,
		a.lastUser, a.lastTick)
	var found []audited
	if err == nil {
		found, err = pgx.CollectRows(rows, pgx.RowToStructByPos[audited])
	}
	if err == nil && len(found) > 0 {
		// A transaction that waits for a synchronous standby becomes visible when its session ends. This statement waits
		// until the standby has all that was visible.
		_, err = (*conn).Exec(ctx, "SELECT pg_logical_emit_message(true, 'audit', '')")
	}
	if err == nil {
		a.add(found, time.Now())
		return nil
	}
	_ = (*conn).Close(ctx)
	*conn = nil
	return err
}

// add adds rows that were seen at a time.
func (a *audit) add(rows []audited, seen time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for len(rows) > 0 {
		n := 1
		for n < len(rows) && rows[n].Step == rows[0].Step {
			n++
		}
		a.addStep(rows[:n], seen)
		rows = rows[n:]
	}
}

// addStep adds the rows of one transaction.
func (a *audit) addStep(rows []audited, seen time.Time) {
	var users []points.User
	a.rows = append(a.rows, rows...)
	for _, row := range rows {
		if row.Ticks != nil {
			a.claimed, a.lastTick = append(a.claimed, row), row.N
			a.history.MinNumber(*row.MinNumber, row.At, seen)
			continue
		}
		a.lastUser = row.N
		users = append(users, points.User{ID: *row.ID, Points: *row.Points, UpdatedAt: row.UpdatedAt.UTC()})
		i := slices.IndexFunc(a.updates, func(u update) bool { return u.at.Equal(*row.UpdatedAt) })
		if i < 0 {
			i = len(a.updates)
			a.updates = append(a.updates, update{server: row.Server, at: *row.UpdatedAt})
		}
		a.updates[i].users++
	}
	if len(users) > 0 {
		a.err = cmp.Or(a.err, a.history.Updated(users, rows[len(rows)-1].At, seen))
	}
}

// failure returns the error of the latest reading: without one, all rows have been read.
func (a *audit) failure() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.latest
}

// seen returns the rows so far.
func (a *audit) seen() []audited {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Clone(a.rows)
}

// ticks returns the ticks so far.
func (a *audit) ticks() []audited {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Clone(a.claimed)
}

// updated returns the updates so far of all users.
func (a *audit) updated() []update {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(a.updates), func(u update) bool { return u.users != clusterUsers })
}

// check returns nil if there was at most one tick per interval and at most one update per tick, and how late the latest
// tick was.
func (a *audit) check() (latest time.Duration, err error) {
	ticks := a.ticks()
	for i, tick := range ticks {
		if *tick.Ticks != int64(i+1) {
			return 0, fmt.Errorf("tick %d is counted as %d", i+1, *tick.Ticks)
		}
		if i == 0 {
			continue // it may be due at once
		}
		due := time.UnixMicro(*tick.Due)
		latest = max(latest, tick.At.Sub(due))
		switch {
		case tick.At.Before(due), *tick.Due != *ticks[i-1].Next:
			return 0, fmt.Errorf("tick %d at %v is before its time", i+1, tick.At)
		case *tick.Next-*tick.Due < *tick.TickInterval:
			return 0, fmt.Errorf("tick %d is due less than an interval after %v", i+2, due)
		}
	}
	given := make(map[int]bool) // ticks with an update
	for _, u := range a.updates {
		i := len(ticks) - 1
		for i >= 0 && (given[i] || ticks[i].Server != u.server || ticks[i].At.After(u.at)) {
			i--
		}
		if i < 0 {
			return 0, fmt.Errorf("%s has updated at %v without a tick of its own", u.server, u.at)
		}
		if u.users != clusterUsers {
			return 0, fmt.Errorf("%s has updated %d users at %v", u.server, u.users, u.at)
		}
		given[i] = true
	}
	return latest, cmp.Or(a.err, a.latest)
}
