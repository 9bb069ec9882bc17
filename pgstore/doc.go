// Package pgstore is a [points.Store] in a table of a PostgreSQL database, version 15 to 18. (PostgreSQL 14 reached its
// end of life in November 2026.)
//
//	pool, err := pgxpool.New(ctx, url)          // yours, to configure and to close
//	store, err := pgstore.New(pool, pgstore.Config{})
//	err = store.Migrate(ctx)                    // creates the table users unless it exists
//	err = store.Seed(ctx, 1_000_000)            // seeds it if it is empty
//	engine, err := points.New(store, points.Config{UpdateOnStart: true})
//
// # Guarantees
//
//   - A read returns users from one snapshot of the committed users. It fails on a standby, which lags behind.
//   - At most one update of a table runs, across all processes. The next update begins only after every batch of the
//     previous one has ended or failed.
//   - An update that returns no error has updated every user that existed when it began. It fails if a trigger, a rule
//     or row-level security makes it skip a user, or if the table is renamed or replaced during the update.
//   - Migrate and Seed are one transaction each. If they fail, or their process dies, nothing has changed.
//   - The package creates only the table, its indexes, its sequence and its comment, and with Config.Shared the objects
//     of the shared state. It changes or drops nothing else, except that UpdateAll changes users, and Seed inserts
//     users into an empty table.
//
// The store looks up the name of the table at its first use. It repeats the lookup in Migrate and Check, in UpdateAll
// and Seed if the table was replaced, and in the first call after one that failed because the table was gone. Each
// statement uses the qualified name, so a change of search_path has no effect on a running store.
//
// # Rights
//
// Reads need SELECT on the table, and updates UPDATE on points and updated_at as well. Seed needs SELECT, INSERT and
// UPDATE on the table, and USAGE on the sequence of a serial id. Migrate needs the right to CREATE in the schema if
// there is no table yet, and ownership of the table if an earlier version of this package created it. Seed vacuums the
// table if the role is allowed to, and otherwise logs a warning. Row-level security must not apply to the role.
//
// # Several servers
//
// With [Config].Shared, all processes with the table act as one engine: one order of queries, one min number, one tick
// per interval and one update per tick. Restarts of processes, even all at once, do not break the order, nor does a
// crash of PostgreSQL or a failover to a synchronous standby. Each batch of queries is one call of a function in the
// database.
//
//	store, err := pgstore.New(pool, pgstore.Config{Shared: true})
//	err = store.Migrate(ctx)
//	engine, err := points.New(store, points.Config{UpdateOnStart: true})
//
// Migrate creates these objects in the schema of the table, even if the table is your own. Their names begin with that
// of the table, in this example users. Each has a comment with its version. If another object has one of the names,
// Migrate fails and changes nothing. An object without its comment counts as another one: after a restore without
// comments (pg_dump --no-comments), drop the objects before you call Migrate.
//
//	sequence users_clock             latest timestamp; unlogged, so a batch writes no WAL
//	table    users_bound             durable upper bound of all timestamps
//	table    users_state             min number, ticks and schedule
//	table    users_servers           processes and when they were last seen
//	table    users_updates           the latest updates
//	function users_answer            answers a batch
//	function users_sync              claims ticks, records updates
//	function users_configure         pauses and resumes the ticks, changes the interval
//
// A role that did not create them needs these rights; Check names those that are missing:
//
//	GRANT SELECT, UPDATE ON SEQUENCE users_clock TO role;
//	GRANT SELECT, UPDATE ON TABLE users_bound, users_state TO role;
//	GRANT SELECT, INSERT, UPDATE, DELETE ON TABLE users_servers, users_updates TO role;
//
// and USAGE on the schema, which all roles have in the schema public unless it was revoked. Row-level security of these
// tables must not apply to it.
//
// Times are those of the database's clock. After a crash of PostgreSQL, queries wait until its clock has passed the
// bound, for at most 3 seconds. If the clock is set back, timestamps continue in their order, ahead of the clock. While
// they are 4 seconds or more ahead, queries do not wait for the clock, which catches up because a query advances the
// timestamp by only a microsecond. Once they are less than 4 seconds ahead, each batch waits until the clock has
// reached its timestamps.
//
// An asynchronous standby may lack the latest bound. A failover to it can break the order: timestamps may be given
// again. With synchronous_standby_names a failover keeps the order, and a primary that has lost its synchronous
// standbys stops answering after 3 seconds at most.
//
// To stop sharing, stop all processes, set Shared to false, and drop the objects. Processes with and without Shared
// must not run at the same time: those without have their own order. [Store.Check] logs a warning if a process without
// Shared checks a table that others share.
//
// # Performance
//
// An update changes every row, so the table is laid out for heap-only (HOT) updates: pages are filled to 45%, so the
// next version of each row fits on its page, and the only index on points is a BRIN index, which does not prevent
// heap-only updates since PostgreSQL 16. Such updates take a fifth of the time of updates with a btree index on points,
// and the table keeps its size. UpdateAll updates ranges of ids, in short transactions on two connections.
//
// A read looks at 32 pages, starting where an earlier read found users. If these pages have too few matching users, it
// looks at a sample of users, and then at the whole table through the BRIN index. Reads of the whole table happen
// mainly before the first update, when all users have 0 points, and when no user matches. The plans depend neither on
// statistics nor on parameters. On PostgreSQL 15 a BRIN index would prevent heap-only updates, so tables there have
// none: until the first update has begun, a read scans the table, which takes about 50 ms for a million users.
//
// Users become visible when Seed ends. Until then, a read scans all rows inserted so far and finds none.
//
// # Your own table
//
// Migrate does not change a table that it did not create. [Store.Check] lists the requirements for such a table. Tables
// that Migrate created have a comment (COMMENT ON TABLE) with the version of their schema; a table with any other
// comment, or none, is yours. This layout makes it fast:
//
//	ALTER TABLE users SET (fillfactor = 45);
//	DROP INDEX users_points_index;                                           -- any btree index on points
//	CREATE INDEX ON users USING brin (points) WITH (pages_per_range = 512);  -- since PostgreSQL 16
//	VACUUM (FULL, ANALYZE) users;
//
// # Partitions and Citus
//
// A read of a partitioned table looks at one partition first, if the role may SELECT from it, because a statement on
// the table costs time and locks for each partition. Each partition needs its own fillfactor.
//
// Citus has no snapshot of all shards of a table. A read looks at users of one shard first. If too few of them match,
// it looks at all shards while no batch of an update commits. All processes must connect to the coordinator. A shared
// state is not possible.
//
// # PgBouncer
//
// Everything works in transaction mode: locks and settings belong to transactions, and no statement relies on its
// session. PgBouncer 1.21 and later tracks prepared statements if max_prepared_statements is above 0 (the default since
// 1.24). For an earlier one, or if it is 0, add default_query_exec_mode=exec to the connection string, so that pgx does
// not prepare statements. PgBouncer must allow Config.Workers + 2 connections to the database. A shared state calls its
// functions in READ COMMITTED, whatever default_transaction_isolation is.
//
// docs/postgres.md lists more set-ups: what works, what is refused or slow, and what to set.
package pgstore
