package pgstore

// wrongIsolation is the SQLSTATE of a function that was called with an isolation level other than READ COMMITTED,
// where its statements would read users as they were before it got the order lock.
const wrongIsolation = "ZP001"

// Bounds of the timestamps in microseconds.
const (
	boundAhead  = 3_000_000 // how far above a timestamp, or above the clock in Sync, the bound is raised
	boundMargin = 1_500_000 // how far below the bound the clock is when Sync raises it

	// maxClockWait is more than boundAhead, so a longer wait means that the clock was set back. It is less than
	// points.DefaultQueryTimeout, so queries outlast the wait.
	maxClockWait = 4_000_000
)

// The values of source in the result of the function that answers a batch: the users are from the pages that the caller
// named, from a sample, or from the whole table.
const (
	fromPages = 1 + iota
	fromSample
	fromTable
)

// forgetServerAfter is how long, in microseconds, a server is remembered without a Sync, and with it that its latest
// update has been recorded.
const forgetServerAfter = 24 * 3600 * 1_000_000

const requireReadCommitted = `
	IF current_setting('transaction_isolation') <> 'read committed' THEN
		RAISE EXCEPTION USING ERRCODE = '` + wrongIsolation + `',
			MESSAGE = 'the isolation level must be READ COMMITTED: ' || current_setting('transaction_isolation');
	END IF;`

// All times are microseconds since 1970. sharedNames replaces the placeholders in braces. In a function, a name that a
// column has, too, means the column (use_column). So a parameter with such a name is written as its number, and
// statements that read users, whose table may have any columns, use numbers and names with the function's label.
const (
	// The bound is above every timestamp that was given, also after a crash has reset the sequence. It has a table of its
	// own: it changes every few seconds, and each batch reads the state, past all row versions that an old snapshot keeps.
	createBound = `
		CREATE TABLE {bound} (
			one boolean PRIMARY KEY DEFAULT true CHECK (one),
			reserved bigint NOT NULL -- 0 if no timestamp was ever given
		)`

	fillBound = `
		INSERT INTO {bound} (reserved)
			SELECT CASE WHEN is_called THEN greatest(last_value, {now}) + {bound_ahead} ELSE 0 END FROM {clock}
			WHERE NOT EXISTS (SELECT FROM {bound})`

	createState = `
		CREATE TABLE {state} (
			one boolean PRIMARY KEY DEFAULT true CHECK (one),
			min_number integer NOT NULL,
			ticks bigint NOT NULL DEFAULT 0,
			skipped bigint NOT NULL DEFAULT 0,
			failures integer NOT NULL DEFAULT 0,
			paused boolean NOT NULL DEFAULT false,
			tick_interval bigint NOT NULL DEFAULT 0, -- 0 before the first server starts
			configured_interval bigint NOT NULL DEFAULT 0, -- of the server that started last
			next_tick bigint
		)`

	fillState = `
		INSERT INTO {state} (min_number)
			SELECT floor(random() * ({max_points} + 1)) WHERE NOT EXISTS (SELECT FROM {state})`

	createServers = `
		CREATE TABLE {servers} (
			instance_id bigint PRIMARY KEY,
			instance text NOT NULL, -- its name, which need not be unique
			started bigint NOT NULL,
			seen bigint NOT NULL,
			stopped boolean NOT NULL
		)`

	createUpdates = `
		CREATE TABLE {updates} (
			id bigint PRIMARY KEY,
			instance_id bigint NOT NULL,
			instance text NOT NULL,
			started bigint NOT NULL,
			duration bigint NOT NULL,
			users bigint NOT NULL,
			outcome integer NOT NULL,
			error text NOT NULL
		)`
)

// The function that answers a batch. One call is one message, so a client that vanishes never holds the order lock. In
// READ COMMITTED each statement of the function has a snapshot of its own: that of the users is younger than the lock.
//
// known_bound is a bound of the timestamps that the caller knows to be durable. previous is the timestamp of the query
// before the batch, newest that of the last query of the batch. wait is the time until the timestamps are not in the
// future; if newest is NULL, the batch was not answered and must be repeated then. source is where the users are from.
// found_users has userValues numbers for each user. lock_wait is how long the batch waited for the order lock. A batch
// of 0 queries reads the state and the users, but changes nothing.
//
// A sequence is changed in place: it needs no row versions, no WAL and no flush at the commit. If a crash has reset it,
// the bound replaces it, once the clock has passed the bound.
const (
	answerParameters = "queries integer, max_users integer, page bigint, skip_sample boolean, known_bound bigint"
	answerResults    = "OUT previous bigint, OUT newest bigint, OUT wait bigint, OUT bound bigint, OUT source integer, " +
		"OUT found_page bigint, OUT found_users bigint[], OUT lock_wait bigint"

	answerBody = `
#variable_conflict use_column
<<points_answer>>
DECLARE
	min_number integer;
	called boolean;
	durable bigint := known_bound;
	called_at bigint := {now};
	clock_now bigint;
	first_page tid;
	end_page tid;
BEGIN` + requireReadCommitted + `
	-- The lock is never NULL. An expression costs less than PERFORM, which runs a query.
	IF queries > 0 AND {lock_order} IS NULL THEN
		RAISE EXCEPTION 'no lock';
	END IF;
	clock_now := {now};
	lock_wait := greatest(clock_now - called_at, 0);
	SELECT sequence.last_value, sequence.is_called, state.min_number INTO STRICT previous, called, min_number
		FROM {clock} AS sequence, {state} AS state;
	IF NOT called THEN
		durable := 0;
		SELECT nullif(reserved, 0) INTO STRICT previous FROM {bound};
		IF queries > 0 AND previous >= clock_now AND previous < clock_now + {max_clock_wait} THEN
			wait := previous - clock_now + 1;
			RETURN;
		END IF;
	END IF;
	newest := greatest(coalesce(previous, 0) + queries, clock_now);
	wait := newest - clock_now;
	IF wait >= {max_clock_wait} THEN -- the clock was set back
		wait := 0;
	END IF;
	IF queries > 0 THEN
		IF newest > durable THEN
			-- Even if another server has moved the bound: only this transaction's own commit waits until it is durable.
			IF current_setting('synchronous_commit') = 'off' THEN
				PERFORM set_config('synchronous_commit', 'on', true);
			END IF;
			UPDATE {bound} SET reserved = greatest(reserved, newest + {bound_ahead}) RETURNING reserved INTO STRICT bound;
		END IF;
		newest := setval({clock_name}, newest);
	END IF;
	source := {from_pages};
	IF min_number >= {max_points} THEN
		RETURN;
	END IF;
	first_page := ('(' || page || ',0)')::tid;
	end_page := ('(' || page + {pages_per_read} || ',0)')::tid;
	found_users := ARRAY({pages}); -- costs less than array_agg
	IF cardinality(found_users) = {user_values} * max_users THEN
		RETURN;
	END IF;
	IF NOT skip_sample THEN
		source := {from_sample};
		{sample} INTO found_users, found_page;
		IF cardinality(found_users) = {user_values} * max_users THEN
			RETURN;
		END IF;
	END IF;
	source := {from_table};
	PERFORM {force_bitmap_scan};
	EXECUTE {table} INTO found_users, found_page USING min_number, max_users;
END`
)

// The function behind Sync. bound is a durable bound of the timestamps, or NULL if none is known.
const (
	syncParameters = "instance text, instance_id bigint, starting boolean, tick_interval bigint, tick_now boolean, " +
		"min_number integer, update_id bigint, duration bigint, users bigint, outcome integer, error text, " +
		"stopping boolean"
	syncResults = "OUT claimed boolean, OUT bound bigint, OUT status text"

	syncBody = `
#variable_conflict use_column
<<points_sync>>
DECLARE
	latest record;
	recorded integer;
	changes boolean;
	clock_now bigint := {now};
BEGIN` + requireReadCommitted + `
	claimed := false;
	SELECT paused, next_tick, ticks, configured_interval INTO STRICT latest FROM {state};
	SELECT updates.outcome INTO recorded FROM {updates} AS updates WHERE id = update_id;
	changes := starting OR latest.configured_interval = 0 AND $4 > 0
		OR update_id IS NOT NULL AND coalesce(recorded, {unfinished}) = {unfinished};

	-- A tick that may be due takes the order lock, so that no batch is in progress when the min number changes. The lock
	-- comes before the row.
	IF NOT stopping AND NOT latest.paused AND (latest.next_tick <= clock_now OR tick_now AND latest.ticks = 0) THEN
		IF {lock_order} IS NULL THEN
			RAISE EXCEPTION 'no lock';
		END IF;
		changes := true;
		claimed := true;
	END IF;
	IF changes THEN
		SELECT paused, next_tick, ticks, configured_interval INTO STRICT latest FROM {state} FOR UPDATE;
		clock_now := {now};
		IF starting AND $4 <> latest.configured_interval THEN
			UPDATE {state} SET tick_interval = $4, configured_interval = $4, next_tick = clock_now + $4;
		ELSIF latest.configured_interval = 0 AND $4 > 0 THEN -- the row was created again while servers run
			UPDATE {state} SET configured_interval = $4,
				tick_interval = CASE tick_interval WHEN 0 THEN $4 ELSE tick_interval END,
				next_tick = CASE tick_interval WHEN 0 THEN clock_now + $4 ELSE next_tick END;
		END IF;
		IF update_id IS NOT NULL THEN` + recordUpdate + `
		END IF;
	END IF;
	IF claimed THEN
		UPDATE {state} SET min_number = $6, ticks = ticks + 1, next_tick = CASE
				WHEN next_tick <= clock_now AND next_tick + tick_interval > clock_now THEN next_tick + tick_interval
				ELSE clock_now + tick_interval END
			WHERE NOT paused AND tick_interval > 0 AND (next_tick <= clock_now
				OR tick_now AND ticks = 0 AND NOT EXISTS (SELECT FROM {updates} AS updates WHERE updates.outcome = {succeeded}));
		claimed := FOUND;
	END IF;

	-- A server that has stopped comes back by a start alone: the end of Run may have left behind a call of before.
	INSERT INTO {servers} AS server (instance_id, instance, started, stopped, seen)
		VALUES ($2, $1, clock_now, stopping, clock_now)
		ON CONFLICT (instance_id) DO UPDATE SET seen = clock_now,
			started = CASE WHEN starting THEN clock_now ELSE server.started END,
			stopped = stopping OR server.stopped AND NOT starting;
	IF starting THEN
		DELETE FROM {servers} WHERE instance_id IN (
			SELECT instance_id FROM {servers} WHERE seen < clock_now - {forget_server_after} FOR UPDATE SKIP LOCKED);
	END IF;
	SELECT reserved INTO STRICT bound FROM {bound};
	IF (SELECT last_value > clock_now - {bound_margin} FROM {clock}) THEN -- queries are being answered
		IF bound < clock_now + {bound_margin} THEN
			UPDATE {bound} SET reserved = greatest(reserved, clock_now + {bound_ahead}) RETURNING reserved INTO STRICT bound;
		END IF;
		changes := true; -- the commit waits until the bound is durable, even if another server has moved it
	END IF;
	IF NOT changes THEN
		bound := NULL;
		PERFORM set_config('synchronous_commit', 'off', true); -- that the server was seen may be lost
	ELSIF current_setting('synchronous_commit') = 'off' THEN
		PERFORM set_config('synchronous_commit', 'on', true);
	END IF;
	` + statusQuery + `
END`

	// An update is recorded when it begins or, if that was missed, when it has ended. Once it has ended, its record does
	// not change. All records are kept that a Sync could repeat, and those that a status shows.
	recordUpdate = `
			SELECT updates.outcome INTO recorded FROM {updates} AS updates WHERE id = update_id;
			IF recorded IS NULL THEN
				INSERT INTO {updates} (id, instance_id, instance, started, duration, users, outcome, error)
					VALUES (update_id, $2, $1, clock_now - $8, $8, $9, $10, $11);
				DELETE FROM {updates} AS old WHERE id <> update_id
					AND id NOT IN (SELECT id FROM {updates} WHERE outcome <> {skipped}
						ORDER BY started DESC, id DESC LIMIT {max_updates})
					AND id NOT IN (SELECT id FROM {updates} WHERE outcome = {succeeded} ORDER BY started DESC, id DESC LIMIT 1)
					AND id NOT IN (SELECT id FROM {updates} WHERE outcome = {failed} ORDER BY started DESC, id DESC LIMIT 1)
					AND (NOT EXISTS (SELECT FROM {servers} AS server WHERE server.instance_id = old.instance_id) OR EXISTS (
						SELECT FROM {updates} AS next WHERE next.instance_id = old.instance_id AND next.started > old.started));
			ELSIF recorded = {unfinished} THEN
				UPDATE {updates} SET duration = $8, users = $9, outcome = $10, error = $11 WHERE id = update_id;
			END IF;
			IF coalesce(recorded, {unfinished}) = {unfinished} THEN
				UPDATE {state} SET skipped = skipped + ($10 = {skipped})::integer,
						failures = CASE $10 WHEN {succeeded} THEN 0 WHEN {failed} THEN failures + 1 ELSE failures END
					WHERE $10 IN ({failed}, {skipped}) OR $10 = {succeeded} AND failures > 0;
			END IF;`
)

// The function behind Configure.
const (
	configureParameters = "pause boolean, new_interval bigint"
	configureResults    = "OUT status text"

	configureBody = `
#variable_conflict use_column
<<points_configure>>
DECLARE
	clock_now bigint;
BEGIN` + requireReadCommitted + `
	PERFORM FROM {state} FOR UPDATE;
	clock_now := {now};
	UPDATE {state} SET paused = coalesce(pause, paused), tick_interval = coalesce(new_interval, tick_interval),
			next_tick = clock_now + coalesce(new_interval, nullif(tick_interval, 0))
		WHERE pause <> paused OR new_interval IS NOT NULL;
	` + statusQuery + `
END`
)

// statusQuery sets the variable status to a sharedStatus.
const statusQuery = `SELECT jsonb_build_object(
		'time', {now}, 'interval', tick_interval, 'paused', paused,
		'next_tick', CASE WHEN NOT paused THEN next_tick END,
		'ticks', ticks, 'skipped', skipped, 'failures', failures,
		'instances', (SELECT jsonb_agg(to_jsonb(server) ORDER BY instance COLLATE "C", started)
			FROM {servers} AS server WHERE seen >= {now} - {instance_timeout} AND NOT stopped),
		'updates', (SELECT jsonb_agg(to_jsonb(recent) ORDER BY started DESC, id DESC)
			FROM (SELECT id, instance_id, instance, started, duration, users, outcome, error
				FROM {updates} WHERE outcome <> {skipped}
				ORDER BY started DESC, id DESC LIMIT {max_updates}) AS recent),
		'last_success', (SELECT to_jsonb(success) FROM {updates} AS success WHERE outcome = {succeeded}
			ORDER BY started DESC, id DESC LIMIT 1),
		'last_failure', (SELECT to_jsonb(failure) FROM {updates} AS failure WHERE outcome = {failed}
			ORDER BY started DESC, id DESC LIMIT 1)
	)::text INTO STRICT status FROM {state};`
