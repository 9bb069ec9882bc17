package pgstore_test

import (
	"errors"
	"math/rand/v2"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/pointsapp/pointsapp/internal/pgtest"
	"github.com/pointsapp/pointsapp/pgstore"
	"github.com/pointsapp/pointsapp/points"
)

// Users that the database keeps an update from reaching make it fail.
func TestUpdateFailsIfUsersAreSkipped(t *testing.T) {
	for name, test := range map[string]struct{ setup, want string }{
		"trigger": {
			`CREATE FUNCTION skip() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$;
			CREATE TRIGGER skip BEFORE UPDATE ON users FOR EACH ROW WHEN (OLD.id % 10 = 0) EXECUTE FUNCTION skip()`,
			"the database skips users: 99 were not updated: see trigger skip",
		},
		"rule": {"CREATE RULE skip AS ON UPDATE TO users WHERE OLD.id % 10 = 0 DO INSTEAD NOTHING", "were not updated: see rule skip"},
		"trigger that keeps the points": {
			`CREATE FUNCTION keep() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.points := OLD.points; RETURN NEW; END $$;
			CREATE TRIGGER keep BEFORE UPDATE ON users FOR EACH ROW WHEN (OLD.id % 10 = 0) EXECUTE FUNCTION keep()`,
			"were not updated: see trigger keep",
		},
		"trigger that returns the old row": {
			`CREATE FUNCTION keep() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN OLD; END $$;
			CREATE TRIGGER keep BEFORE UPDATE ON users FOR EACH ROW WHEN (OLD.id % 10 = 0) EXECUTE FUNCTION keep()`,
			"were not updated: see trigger keep",
		},
		"rule that redirects": {
			`CREATE TABLE shadow (LIKE users INCLUDING ALL);
			INSERT INTO shadow SELECT * FROM users;
			CREATE RULE redirect AS ON UPDATE TO users DO INSTEAD
				UPDATE shadow SET points = NEW.points, updated_at = NEW.updated_at WHERE id = OLD.id`,
			"were not updated: see rule redirect",
		},
		"deferred trigger": {
			`CREATE FUNCTION undo() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
				UPDATE users SET points = 0 WHERE id = NEW.id AND points <> 0; RETURN NULL; END $$;
			CREATE CONSTRAINT TRIGGER undo AFTER UPDATE ON users DEFERRABLE INITIALLY DEFERRED
				FOR EACH ROW WHEN (NEW.id % 10 = 0) EXECUTE FUNCTION undo()`,
			"were not updated: see trigger undo",
		},
		"all skipped": {"CREATE RULE skip AS ON UPDATE TO users DO INSTEAD NOTHING", "a rule redirects its updates"},
	} {
		t.Run(name, func(t *testing.T) {
			store, pool := seeded(t, pgstore.Config{Workers: 1}, 5_000)
			execSQL(t, pool, test.setup)
			_, err := store.UpdateAll(t.Context(), 1)
			require.ErrorContains(t, err, "pgstore: updating table users: ids 1 to 1000: ")
			require.ErrorContains(t, err, test.want)
		})
	}
}

// The errors of updates and reads that will fail again say what to do.
func TestErrorsNameRemedy(t *testing.T) {
	for change, want := range map[string]string{
		"REVOKE UPDATE ON users FROM points_test_remedy":                                   "(SQLSTATE 42501): grant the role the rights that Check names",
		"ALTER TABLE users REPLICA IDENTITY NOTHING; CREATE PUBLICATION p FOR TABLE users": "(SQLSTATE 55000): To enable updating the table, set REPLICA IDENTITY using ALTER TABLE.",
		"CREATE PUBLICATION p FOR TABLE users WHERE (points > 5)":                          "(SQLSTATE 42P10): change the publication or the replica identity: Column used in the publication WHERE",
	} {
		t.Run(change, func(t *testing.T) {
			_, owner := seeded(t, pgstore.Config{}, 100)
			store, _ := storeOfRole(t, owner, "points_test_remedy", "GRANT SELECT, UPDATE ON users TO points_test_remedy")
			_, err := store.UpdateAll(t.Context(), 1)
			require.NoError(t, err)
			execSQL(t, owner, change)
			_, err = store.UpdateAll(t.Context(), 2)
			require.ErrorContains(t, err, want)
			execSQL(t, owner, "REVOKE SELECT ON users FROM points_test_remedy")
			_, err = store.UsersAbove(t.Context(), 50, 2)
			require.ErrorContains(t, err, "(SQLSTATE 42501): grant the role the rights that Check names")
		})
	}
}

// Row-level security does not make an update a success that has reached fewer users than there are.
func TestUpdateFailsUnderRowLevelSecurity(t *testing.T) {
	for name, policy := range map[string]string{
		"some visible": "CREATE POLICY p ON users USING (id <= 500)",
		"none visible": "SELECT",
	} {
		t.Run(name, func(t *testing.T) {
			_, owner := seeded(t, pgstore.Config{}, 1_000)
			store, _ := storeOfRole(t, owner, "points_test_rls", "GRANT SELECT, INSERT, UPDATE ON users TO points_test_rls;"+
				" ALTER TABLE users ENABLE ROW LEVEL SECURITY; "+policy)
			_, err := store.UpdateAll(t.Context(), 1)
			require.ErrorContains(t, err, "row-level security")
			require.ErrorContains(t, store.Seed(t.Context(), 1_000), "row-level security")
			require.EqualError(t, store.Check(t.Context()), "pgstore: table users: "+
				"row-level security hides users from the role: make it the owner, without FORCE ROW LEVEL SECURITY, or ALTER "+
				"ROLE with BYPASSRLS")
			assert.EqualValues(t, 1_000, queryOne[int64](t, owner, "SELECT count(*) FROM users"))
		})
	}
}

// Row-level security that is switched on during an update ends it, also for the table's owner (FORCE). The owner here
// is a role without BYPASSRLS.
func TestUpdateEndsWhenRowLevelSecurityBegins(t *testing.T) {
	_, admin := seeded(t, pgstore.Config{}, 5_000)
	store, _ := storeOfRole(t, admin, "points_test_force", "ALTER TABLE users OWNER TO points_test_force")
	require.NoError(t, store.Check(t.Context()))
	begun := false
	_, err := store.UpdateAll(points.WithProgress(t.Context(), func(done, _ int64) {
		if done >= 1_000 && !begun {
			begun = true
			execSQL(t, admin, "ALTER TABLE users ENABLE ROW LEVEL SECURITY; ALTER TABLE users FORCE ROW LEVEL SECURITY;"+
				" CREATE POLICY half ON users USING (id <= 2500)")
		}
	}), 1)
	require.ErrorContains(t, err, "row-level security")
	require.ErrorContains(t, store.Check(t.Context()), "row-level security hides users from the role")
}

// An update that returns no error has reached also users whose ids changed while it ran.
func TestUpdateWhileIDsChange(t *testing.T) {
	for name, change := range map[string]string{
		"above the last":  "UPDATE users SET id = 900000 WHERE id = 5000",
		"below the first": "UPDATE users SET id = -5 WHERE id = 5000",
		"into a gap":      "UPDATE users SET id = 1 WHERE id = 5000",
		"swapped":         "UPDATE users SET id = -1 WHERE id = 2; UPDATE users SET id = 2 WHERE id = 5000; UPDATE users SET id = 5000 WHERE id = -1",
	} {
		t.Run(name, func(t *testing.T) {
			ids := make([]int64, 0, 5_000)
			for id := int64(2); id <= 5_000; id++ {
				ids = append(ids, id)
			}
			store, pool := open(t, pgstore.Config{Workers: 1}, ids)
			changed := false
			n, err := store.UpdateAll(points.WithProgress(t.Context(), func(_, _ int64) {
				if !changed { // after the first batch
					changed = true
					execSQL(t, pool, change)
				}
			}), 1)
			require.NoError(t, err)
			assert.GreaterOrEqual(t, n, int64(len(ids)))
			assert.Zero(t, missed(t, pool, 1))
		})
	}
}

// A trigger that is created during an update, and keeps the points but sets updated_at, is noticed at the end.
func TestUpdateNoticesNewTrigger(t *testing.T) {
	store, pool := seeded(t, pgstore.Config{Workers: 1}, 5_000)
	execSQL(t, pool, "CREATE FUNCTION keep() RETURNS trigger LANGUAGE plpgsql AS $$"+
		" BEGIN NEW.points := OLD.points; RETURN NEW; END $$")
	created := false
	_, err := store.UpdateAll(points.WithProgress(t.Context(), func(_, _ int64) {
		if !created {
			created = true
			execSQL(t, pool, "CREATE TRIGGER keep BEFORE UPDATE ON users FOR EACH ROW EXECUTE FUNCTION keep()")
		}
	}), 1)
	require.ErrorContains(t, err, "were not updated: see trigger keep")
}

// A trigger that sets updated_at itself, and one that stores it with less precision, skip no user.
func TestUpdateWithOwnUpdatedAt(t *testing.T) {
	pool := pgtest.Pool(t)
	execSQL(t, pool, ecto+`;
		CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.updated_at := '2001-01-01'; RETURN NEW; END $$;
		CREATE TRIGGER touch BEFORE UPDATE ON users FOR EACH ROW EXECUTE FUNCTION touch();
		INSERT INTO users (id, points, inserted_at, updated_at) SELECT 2 * i, 0, now(), now() FROM generate_series(1, 5000) AS i`)
	store, err := pgstore.New(pool, pgstore.Config{})
	require.NoError(t, err)
	n, err := store.UpdateAll(t.Context(), 1)
	require.NoError(t, err)
	assert.EqualValues(t, 5_000, n)
	assert.Zero(t, missed(t, pool, 1))
}

// Users that come and go during updates do not make them fail, and no other user is missed.
func TestUpdateBesideInsertsAndDeletes(t *testing.T) {
	ids := make([]int64, 6_000)
	for i := range ids {
		ids[i] = int64(2*i + 1) // odd ids stay, even ones come and go
	}
	store, pool := open(t, pgstore.Config{BatchSize: 500}, ids)
	var stop atomic.Bool
	var others sync.WaitGroup
	for range 2 {
		others.Go(func() {
			for !stop.Load() {
				from := 2 * rand.Int64N(6_000)
				_, err := pool.Exec(t.Context(), `DO $$ BEGIN -- EXCEPTION makes it a subtransaction
					INSERT INTO users (id) SELECT i FROM generate_series(`+strconv.FormatInt(from, 10)+`, 12000, 400) AS i WHERE i % 2 = 0;
				EXCEPTION WHEN unique_violation THEN NULL; END $$`)
				assertNoErrorButDeadlock(t, err)
				_, err = pool.Exec(t.Context(), "DELETE FROM users WHERE id % 2 = 0 AND id % 14 = $1", 2*rand.Int64N(7))
				assertNoErrorButDeadlock(t, err)
			}
		})
	}
	for key := range uint64(20) {
		n, err := store.UpdateAll(t.Context(), key)
		if !assert.NoError(t, err) {
			break
		}
		assert.GreaterOrEqual(t, n, int64(len(ids)))
		assert.Zero(t, queryOne[int](t, pool, "SELECT count(*)::int FROM users WHERE id % 2 = 1 AND points <> "+drawSQL, int64(key)))
	}
	stop.Store(true)
	others.Wait()
}

// assertNoErrorButDeadlock allows the other sessions to be the victims of a deadlock, among themselves or with a batch.
func assertNoErrorButDeadlock(t *testing.T, err error) {
	t.Helper()
	if pgErr, ok := errors.AsType[*pgconn.PgError](err); ok && pgErr.Code == "40P01" {
		return
	}
	assert.NoError(t, err)
}
