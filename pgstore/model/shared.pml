/*
 * The protocol of pgstore's shared state: two servers on one PostgreSQL answer queries in one order, claim ticks, and
 * update the users. Spin visits all interleavings of the steps below, with a crash of PostgreSQL. README.md lists the
 * properties and the mutants; TestModel checks them.
 *
 * A step is the part of a call that takes effect at one moment. Between two steps of a process all others may run. So
 * servers that are frozen, or that die, are in the model, too: they take their next step late, or never.
 *
 * There are two parts, since queries and updates meet only in the users and the min number: without -DUPDATES, two
 * servers answer queries and one claims ticks; with it, two servers claim ticks and update.
 */

#ifndef MAX
#define MAX 4 /* the clock stops here, and the servers with it */
#endif
#define CRASHES 1
#define AHEAD 1    /* how far the bound is set ahead of the clock */
#define INTERVAL 2 /* between two ticks */
#define USERS 2    /* each one is updated in a batch of its own */

#define FREE 255
#define MAXOF(a, b) ((a) > (b) -> (a) : (b))

/* The properties. With -DONLY=property, all others count as true. */
#define UNIQUE   1 /* No two answered queries have the same timestamp. */
#define ORDER    2 /* A query that begins after another one was answered has a later timestamp. */
#define PREVIOUS 3 /* Between a query's timestamp and the one that it returns, no answered query has one. */
#define FUTURE   4 /* No timestamp is in the future. */
#define MONOTONE 5 /* At a later timestamp, neither the users nor the min number are older. */
#define MOMENT   6 /* The users and the min number are those of one moment. */
#define TICK     7 /* A tick is claimed only while it is due, so only once. */
#define UPDATER  8 /* No batch of an update commits after the next update has begun. */
#define WAIT     9 /* After a crash, queries wait for the bound of that moment, not for a later one. */

#ifdef ONLY
#define CHECK(property, holds) assert((holds) || property != ONLY)
#else
#define CHECK(property, holds) assert(holds)
#endif

/* PostgreSQL. Only a crash changes the clock to an earlier time: a standby on another machine may be behind. */
byte now = 1;      /* clock_timestamp() */
byte last;         /* users_clock, an unlogged sequence: the latest timestamp */
bool called;       /* its is_called: false if it is new, or was reset by crash recovery */
byte order = FREE; /* the order lock, an advisory lock: its holder */

byte ticks;        /* users_state: the number of ticks. It stands for the min number, too, which each tick changes. */
byte due = 2;      /* users_state.next_tick */
byte reserved;     /* users_bound: the bound of the timestamps of all answered queries */
byte flushed;      /* users_bound as crash recovery finds it */
byte row = FREE;   /* the lock of users_bound's row: its holder */

byte lease;        /* the nonce of the update that holds the lease; 0 if none does */
byte batches;      /* update batches in progress, which share a lock */

byte crashes;      /* so far. A call fails if this changes while it runs. */

/*
 * What the properties are about; no server reads it. The properties of the order compare two queries. So it is enough to
 * remember one: any answered query of the first server.
 */
byte changes = 1; /* commits that changed the users or the min number: a snapshot is the number of changes in it */
byte remembered;  /* the timestamp of the remembered query; 0 if there is none yet */
byte itsPrevious; /* the timestamp that it returns */
byte itsSnapshot; /* the changes that it has seen */
byte nonces;      /* leases so far */
byte updating;    /* the nonce of the latest update that has begun */
byte bound;       /* reserved at the crash, until the sequence is set again */
bool written;     /* the users have changed, in the part without updates */

/* A crash of PostgreSQL, or a failover to a standby that has all that was flushed. It may come with an older clock. */
inline crash() {
	d_step {
		crashes++;
		called = false; last = 0;
		order = FREE; row = FREE; lease = 0; batches = 0;
		reserved = flushed; bound = reserved
	}
	if :: now = 1 :: skip fi
}

#ifdef LOCAL_STATE /* each server keeps the latest timestamp and has its own lock */
byte lasts[2];
byte orders[2] = FREE;
#define LAST lasts[me]
#define CALLED (LAST > 0)
#define ORDERLOCK orders[me]
#else
#define LAST last
#define CALLED called
#define ORDERLOCK order
#endif

/* AnswerBatch, of one query: a call of users_answer, a VOLATILE function in READ COMMITTED. */
proctype Query(byte me) {
	byte epoch;                        /* crashes at the call */
	bool after;                        /* the call came after the answer of the remembered query */
	byte min, previous, new, snapshot; /* variables of the function */
	bool extend, done;
end_query:
	do
	:: now == MAX -> break
	:: d_step {
		now < MAX;
		epoch = crashes;
		after = remembered > 0;
#ifdef ONE_STATEMENT
		snapshot = changes
#endif
#ifdef REPEATABLE_READ
		snapshot = changes; min = ticks
#endif
	   }
	   {
		/*
		 * pg_advisory_xact_lock(…);
		 * SELECT last_value, is_called, min_number INTO … FROM users_clock, users_state;
		 * new := greatest(last_value + 1, clock_timestamp());
		 * setval('users_clock', new), which takes effect at once and for all, even if the transaction fails
		 *
		 * One step, because nobody uses the sequence without the lock.
		 */
		atomic {
			ORDERLOCK == FREE -> ORDERLOCK = me;
#ifndef REPEATABLE_READ
			min = ticks;
#endif
			if
			:: CALLED -> previous = LAST
#ifdef NO_BOUND
			:: else -> previous = 0
#else
			:: else -> previous = reserved
#endif
			fi;
			if
#ifndef NO_WAIT
			:: !CALLED && now <= previous -> /* after a crash: the caller waits, and calls again */
				CHECK(WAIT, now <= bound);
				previous = 0;
				goto unlock
#endif
			:: CALLED && LAST == MAX -> previous = 0; goto unlock /* the model's time is over */
			:: else
			fi;
			/* Two timestamps are a microsecond apart at least, and a batch takes longer than that. */
			if :: CALLED && LAST == now -> now++ :: else fi;
			new = MAXOF(previous + 1, now);
			CHECK(FUTURE, new <= now);
#ifdef NO_BOUND
			extend = false;
#else
			extend = new > reserved;
#endif
#ifdef BOUND_IN_SEQUENCE
			if :: extend -> reserved = new + AHEAD :: else fi;
#endif
			LAST = new; bound = 0;
#ifndef LOCAL_STATE
			called = true
#endif
		};

		/*
		 * UPDATE users_bound SET reserved = …, if the new timestamp exceeds it. (A server passes the bound that it knows from
		 * earlier calls, and the row is updated if the timestamp exceeds that one. A flushed bound never becomes lower, so
		 * that is more often than here.)
		 * SELECT … FROM users WHERE points > min_number, with a new snapshot;
		 * COMMIT, which flushes if a row has changed
		 *
		 * One step, because nobody notices earlier that the first statements have run. Each of them can fail.
		 */
		atomic {
			if :: extend -> row == FREE -> row = me :: else fi;
#ifndef REPEATABLE_READ
			CHECK(MOMENT, min == ticks);
#ifndef ONE_STATEMENT
			snapshot = changes;
#endif
#endif
			if
			:: done = true
			:: extend = false; new = 0; previous = 0; snapshot = 0
			fi;
			if
			:: extend ->
				reserved = MAXOF(reserved, new + AHEAD);
#ifndef NOT_FLUSHED
				flushed = reserved
#endif
			:: else
			fi;
unlock:
			min = 0; extend = false;
			if :: ORDERLOCK == me -> ORDERLOCK = FREE :: else fi;
			if :: row == me -> row = FREE :: else fi
		}
	   } unless { atomic { epoch != crashes -> done = false; min = 0; extend = false; new = 0; previous = 0; snapshot = 0 } }

	   /* The answer arrives. Or it is lost, or the call has failed: then the outcome is unknown. */
	   atomic {
		if
		:: done && remembered > 0 ->
			CHECK(UNIQUE, new != remembered);
			CHECK(ORDER, !after || new > remembered);
			CHECK(PREVIOUS, new < remembered || previous >= remembered);
			CHECK(PREVIOUS, new > remembered || new <= itsPrevious);
			CHECK(MONOTONE, new < remembered || snapshot >= itsSnapshot);
			CHECK(MONOTONE, new > remembered || snapshot <= itsSnapshot)
		:: done && remembered == 0 && me == 0 ->
			remembered = new; itsPrevious = previous; itsSnapshot = snapshot
		:: true -> skip
		fi;
		epoch = 0; after = false; done = false;
		previous = 0; new = 0; snapshot = 0
	   }
	od
}

/* Run: one call of Sync (users_sync) after the other, and an update for each tick that it claims. */
proctype Run(byte me) {
	byte epoch, nonce, user;
	bool isDue, extend, claimed;
end_run:
	do
	:: now == MAX -> break
	:: d_step { /* SELECT next_tick … FROM users_state; SELECT reserved FROM users_bound */
		now < MAX && (due <= now || reserved <= now);
		epoch = crashes;
		isDue = due <= now
	   };
	   {
#ifdef BOUND_FIRST
		atomic { row == FREE -> row = me };
#endif
		/*
		 * pg_advisory_xact_lock(…), if a tick is due;
		 * UPDATE users_state SET … WHERE next_tick <= …;
		 * UPDATE users_bound SET …, if it is about to be reached;
		 * COMMIT
		 */
		atomic {
#ifndef CLAIM_UNLOCKED
			if :: isDue -> order == FREE -> order = me :: else fi;
#endif
#ifndef BOUND_FIRST
			row == FREE -> row = me;
#endif
#ifndef NO_RECHECK
			isDue = isDue && due <= now;
#endif
#ifdef EXTEND_AFTER_CRASH
			extend = reserved <= now;
#else
			extend = reserved <= now && called;
#endif
			if
			:: isDue ->
				CHECK(TICK, due <= now);
				claimed = true; ticks++; changes++;
				due = (due + INTERVAL > now -> due + INTERVAL : now + INTERVAL)
			:: else
			:: true -> extend = false
			fi;
			if
			:: extend ->
				reserved = MAXOF(reserved, now + AHEAD);
#ifndef NOT_FLUSHED
				flushed = reserved
#endif
			:: else
			fi;
			if :: order == me -> order = FREE :: else fi;
			if :: row == me -> row = FREE :: else fi
		}
	   } unless { epoch != crashes }

	   atomic {
		if
#ifdef UPDATES
		:: claimed -> goto update
#endif
		:: true -> skip /* not claimed, or the answer is lost: the next tick updates */
		fi;
		epoch = 0; isDue = false; extend = false; claimed = false
	   }
	od;
	goto end;

update:
	/* A transaction that stays open acquires the lease: pg_try_advisory_xact_lock(…) */
	atomic {
		isDue = false; extend = false; claimed = false; user = 0;
		if
		:: lease == 0 -> nonces++; lease = nonces; nonce = nonces
		:: else -> user = USERS /* another update is running: this one is skipped */
		fi
	};
#ifndef NO_AWAIT
	/* pg_advisory_xact_lock(…) waits for the batches of earlier leases */
	if :: user < USERS -> batches == 0 :: else fi;
#endif
	if :: user < USERS -> updating = MAXOF(updating, nonce) :: else fi;
	do
	:: user < USERS -> /* a batch, in a transaction of its own */
	   epoch = crashes;
	   {
		/* pg_advisory_xact_lock_shared(…) */
		batches++;
#ifndef NO_FENCE
		/* SELECT 1 / count(*) FROM pg_locks WHERE … */
		if
		:: lease == nonce
		:: else -> user = USERS; goto ended
		fi;
#endif
		/* UPDATE users SET … WHERE id = …; COMMIT */
		d_step { CHECK(UPDATER, nonce == updating); changes++; user++ };
ended:
		batches--
	   } unless { epoch != crashes -> user = USERS }
	:: break /* done, failed, or the server has died */
	od;
	/* COMMIT ends the lease, if it is still held */
	atomic {
		if :: lease == nonce -> lease = 0 :: else fi;
		epoch = 0; nonce = 0; user = 0
	};
	goto end_run;
end:
	skip
}

/* Time passes, PostgreSQL crashes, and a lease is lost: its connection fails, or its server is frozen for too long. */
proctype Environment() {
end_environment:
	do
	:: now < MAX -> now++
	:: crashes < CRASHES && now < MAX -> atomic { crash() }
#ifdef UPDATES
	:: lease != 0 -> lease = 0
#else
	:: !written && now < MAX -> d_step { written = true; changes++ } /* a batch of an update */
#endif
	:: now == MAX -> break
	od
}

init {
	atomic {
#ifdef UPDATES
		run Run(2); run Run(3);
#else
		run Query(0); run Query(1); run Run(2);
#endif
		run Environment()
	}
}
