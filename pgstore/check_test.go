package pgstore_test

import (
	"context"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/pointsapp/pointsapp/internal/pgtest"
	"github.com/pointsapp/pointsapp/pgstore"
	"github.com/pointsapp/pointsapp/points"
)

// ecto creates the table that the original's migration creates.
const ecto = `CREATE TABLE users (id bigserial PRIMARY KEY, points integer,
	inserted_at timestamp(0) NOT NULL, updated_at timestamp(0) NOT NULL)`

func TestCheck(t *testing.T) {
	const good = "id bigint PRIMARY KEY, inserted_at timestamptz NOT NULL, updated_at timestamptz NOT NULL"
	// NOT NULL NOT VALID, as the catalog of PostgreSQL 18 has it.
	const asNotValid = "UPDATE pg_constraint SET contype = 'n', convalidated = false WHERE conname = 'c';" +
		" UPDATE pg_class SET relchecks = 0 WHERE relname = 'users'"
	updateFails := map[string][]string{ // SQLSTATEs of updates, and the cases in which Check says that they fail
		"22001": {"a short text", "short texts"},
		"22003": {"a sum too high", "a sum of another type"},
		"22012": {"an index that fails"},
		"22026": {"short bits"},
		"23502": {"generated, not null"},
		"23503": {"points that reference", "a time that references"},
		"23505": {"unique points", "unique points, later", "a unique index on updated_at", "a unique expression", "unique, generated"},
		"23514": {"an old time", "a user of the future", "a rule of both", "a rule of nothing", "no longer true", "no longer true, by date", "not valid", "a partition's old user", "a partition by points", "generated, with a rule", "generated, of a domain"},
		"23P01": {"points that exclude"},
		"42P10": {"a filter, published"},
	}
	for name, test := range map[string]struct{ setup, want, warn string }{
		"no table":                           {"", "there is no such table: call Migrate, as the reference server does at its start, or name another", ""},
		"a view":                             {"CREATE VIEW users AS SELECT 1 AS id", "it must be an ordinary or a partitioned table: its kind is view", ""},
		"no key":                             {"CREATE TABLE users (id bigint NOT NULL, points int, inserted_at timestamptz NOT NULL, updated_at timestamptz NOT NULL)", "column id needs a primary key or a unique index on it alone: updates are by id range", ""},
		"a key of two":                       {"CREATE TABLE users (id bigint, points int, PRIMARY KEY (id, points), inserted_at timestamptz NOT NULL, updated_at timestamptz NOT NULL)", "column id needs a primary key or a unique index on it alone: updates are by id range", ""},
		"no id":                              {"CREATE TABLE users (points int, inserted_at timestamptz NOT NULL, updated_at timestamptz NOT NULL)", "it has no column id: it needs id, points, inserted_at and updated_at", ""},
		"a key with more":                    {"CREATE TABLE users (id bigint, points int, inserted_at timestamptz NOT NULL, updated_at timestamptz NOT NULL, PRIMARY KEY (id) INCLUDE (inserted_at))", "", ""},
		"no points":                          {"CREATE TABLE users (" + good + ")", "it has no column points: it needs id, points, inserted_at and updated_at", ""},
		"points of text":                     {"CREATE TABLE users (points text, " + good + ")", "column points must be of type bigint or integer or smallint: it is text", ""},
		"an id of text":                      {"CREATE TABLE users (id text PRIMARY KEY)", "column id must be of type bigint or integer or smallint: it is text", ""},
		"a nullable time":                    {"CREATE TABLE users (id bigint PRIMARY KEY, points int, inserted_at timestamptz, updated_at timestamptz)", "column inserted_at must be NOT NULL", ""},
		"points too high":                    {"CREATE TABLE users (points int, " + good + "); INSERT INTO users VALUES (101, 7, now(), now())", "column points must be within 0..100: user 7 has 101", ""},
		"a negative":                         {"CREATE TABLE users (points int, " + good + "); INSERT INTO users VALUES (-1, 7, now(), now())", "column points must be within 0..100: user 7 has -1", ""},
		"a laxer rule":                       {"CREATE TABLE users (points int CHECK (points >= 0), " + good + "); INSERT INTO users VALUES (101, 7, now(), now())", "column points must be within 0..100: user 7 has 101", ""},
		"a nullable id":                      {"CREATE TABLE users (id bigint UNIQUE, points int, inserted_at timestamptz NOT NULL, updated_at timestamptz NOT NULL)", "column id must be NOT NULL", ""},
		"the original's":                     {ecto, "", ""},
		"small integers":                     {"CREATE TABLE users (points smallint CHECK (points >= 0 AND points <= 100), id int PRIMARY KEY, inserted_at timestamptz NOT NULL, updated_at timestamptz NOT NULL, more text)", "", ""},
		"partitioned":                        {"CREATE TABLE users (points int, " + good + ") PARTITION BY RANGE (id); CREATE TABLE p1 PARTITION OF users FOR VALUES FROM (MINVALUE) TO (50); CREATE TABLE p2 PARTITION OF users DEFAULT", "", ""},
		"with a child":                       {"CREATE TABLE users (points int, " + good + "); CREATE TABLE more () INHERITS (users)", "other tables must not inherit from it: ids would not be unique; use partitions instead", ""},
		"a temporary one":                    {"CREATE TEMPORARY TABLE users (points int, " + good + ")", "it must not be temporary: other connections do not see it", ""},
		"a btree on point":                   {"CREATE TABLE users (points int, " + good + "); CREATE INDEX ON users (points)", "", "DROP INDEX users_points_idx"},
		"generated points":                   {"CREATE TABLE users (points int GENERATED ALWAYS AS (7) STORED, " + good + ")", "column points must not be a generated column, because updates set it: ALTER TABLE ... ALTER points DROP EXPRESSION", ""},
		"points of an identity":              {"CREATE TABLE users (points int GENERATED ALWAYS AS IDENTITY, " + good + ")", "column points must not be a generated column, because updates set it: ALTER TABLE ... ALTER points DROP IDENTITY", ""},
		"points of a default identity":       {"CREATE TABLE users (points int GENERATED BY DEFAULT AS IDENTITY, " + good + ")", "", ""},
		"a materialized view":                {"CREATE MATERIALIZED VIEW users AS SELECT 1 AS id", "it must be an ordinary or a partitioned table: its kind is materialized view", ""},
		"a narrow rule":                      {"CREATE TABLE users (points int CONSTRAINT few CHECK (points < 50), " + good + ")", "constraint few of users must allow all points in 0..100: it forbids 50", ""},
		"a narrow partition":                 {"CREATE TABLE users (points int, " + good + ") PARTITION BY RANGE (id); CREATE TABLE p1 PARTITION OF users (CONSTRAINT odd CHECK (points % 2 = 1)) DEFAULT", "constraint odd of p1 must allow all points in 0..100: it forbids 0", ""},
		"a rule of two":                      {"CREATE TABLE users (points int, most int DEFAULT 100, CONSTRAINT two CHECK (points <= most), " + good + ")", "", "constraint two of users is on points and other columns"},
		"infinity":                           {"CREATE TABLE users (points int, " + good + "); INSERT INTO users VALUES (1, 7, now(), '-infinity')", "column updated_at must be finite: user 7 has -infinity", ""},
		"infinity, inserted":                 {"CREATE TABLE users (points int CHECK (points >= 0 AND points <= 100), " + good + "); INSERT INTO users VALUES (1, 7, 'infinity', now())", "column inserted_at must be finite: user 7 has infinity", ""},
		"no identity":                        {"CREATE TABLE users (points int, " + good + "); ALTER TABLE users REPLICA IDENTITY NOTHING; CREATE PUBLICATION p FOR TABLE users", `updates of it fail: ERROR: cannot update table "users" because it does not have a replica identity and publishes updates (SQLSTATE 55000): To enable updating the table, set REPLICA IDENTITY using ALTER TABLE.`, ""},
		"unique, published":                  {"CREATE TABLE users (id bigint NOT NULL UNIQUE, points int, inserted_at timestamptz NOT NULL, updated_at timestamptz NOT NULL); CREATE PUBLICATION p FOR TABLE users", `updates of it fail: ERROR: cannot update table "users" because it does not have a replica identity and publishes updates (SQLSTATE 55000): To enable updating the table, set REPLICA IDENTITY using ALTER TABLE.`, ""},
		"a filter, published":                {"CREATE TABLE users (points int, " + good + "); INSERT INTO users VALUES (1, 1, now(), now()); CREATE PUBLICATION p FOR TABLE users WHERE (points > 5)", `updates of it fail: ERROR: cannot update table "users" (SQLSTATE 42P10): change the publication or the replica identity: Column used in the publication WHERE expression is not part of the replica identity.`, ""},
		"published":                          {"CREATE TABLE users (points int, " + good + "); CREATE PUBLICATION p FOR TABLE users", "", ""},
		"an instead rule":                    {"CREATE TABLE users (points int, " + good + "); CREATE RULE no AS ON UPDATE TO users DO INSTEAD NOTHING", "rule no must not replace its updates: DROP RULE \"no\" ON \"public\".\"users\"", ""},
		"a rule for some":                    {"CREATE TABLE users (points int, " + good + "); CREATE RULE odd AS ON UPDATE TO users WHERE OLD.id > 1000 DO INSTEAD NOTHING", "", "rule odd runs for each user at each update"},
		"a rule of replicas":                 {"CREATE TABLE users (points int, " + good + "); CREATE RULE no AS ON UPDATE TO users DO INSTEAD NOTHING; ALTER TABLE users ENABLE REPLICA RULE no", "", ""},
		"a rule of a partition":              {"CREATE TABLE users (points int, " + good + ") PARTITION BY RANGE (id); CREATE TABLE p1 PARTITION OF users DEFAULT; CREATE RULE no AS ON UPDATE TO p1 DO INSTEAD NOTHING", "", ""},
		"a trigger of replicas":              {"CREATE TABLE users (points int, " + good + "); CREATE TRIGGER same BEFORE UPDATE ON users FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger(); ALTER TABLE users ENABLE REPLICA TRIGGER same", "", ""},
		"an instead rule, always":            {"CREATE TABLE users (points int, " + good + "); CREATE RULE no AS ON UPDATE TO users DO INSTEAD NOTHING; ALTER TABLE users ENABLE ALWAYS RULE no", "rule no must not replace its updates: DROP RULE \"no\" ON \"public\".\"users\"", ""},
		"a trigger":                          {"CREATE TABLE users (points int, " + good + "); CREATE TRIGGER same BEFORE UPDATE ON users FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger()", "", "trigger same runs for each user at each update"},
		"another's trigger":                  {"CREATE TABLE users (points int, email text, " + good + "); CREATE TRIGGER same BEFORE UPDATE OF email ON users FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger()", "", ""},
		"index on updated_at":                {"CREATE TABLE users (points int, " + good + "); CREATE INDEX i ON users (inserted_at) INCLUDE (updated_at)", "", "DROP INDEX i"},
		"partial index":                      {"CREATE TABLE users (points int, " + good + "); CREATE INDEX i ON users (inserted_at) WHERE points > 90", "", "DROP INDEX i"},
		"expression index":                   {"CREATE TABLE users (points int, " + good + "); CREATE INDEX i ON users ((points % 7))", "", "DROP INDEX i"},
		"a constraint's index":               {"CREATE TABLE users (points int, CONSTRAINT u UNIQUE (id, points), " + good + ")", "", "ALTER TABLE users DROP CONSTRAINT u"},
		"partitioned index":                  {"CREATE TABLE users (points int, " + good + ") PARTITION BY RANGE (id); CREATE TABLE p1 PARTITION OF users DEFAULT; CREATE INDEX i ON users (points)", "", "DROP INDEX i"},
		"index on another":                   {"CREATE TABLE users (points int, " + good + "); CREATE INDEX i ON users (inserted_at)", "", ""},
		"points that reference":              {"CREATE TABLE levels (points int PRIMARY KEY); CREATE TABLE users (points int, CONSTRAINT f FOREIGN KEY (points) REFERENCES levels, " + good + "); INSERT INTO levels SELECT generate_series(0, 49); INSERT INTO users SELECT 1, i, now(), now() FROM generate_series(1, 100) AS i", "foreign key f of users to levels must allow all points in 0..100: it forbids 50", ""},
		"points that reference all":          {"CREATE TABLE levels (points int PRIMARY KEY); CREATE TABLE users (points int, CONSTRAINT f FOREIGN KEY (points) REFERENCES levels, " + good + "); INSERT INTO levels SELECT generate_series(0, 100)", "", "foreign key f of users to levels is on points or updated_at"},
		"points that reference, partitioned": {"CREATE TABLE levels (points int PRIMARY KEY); INSERT INTO levels SELECT generate_series(0, 100); CREATE TABLE users (points int CONSTRAINT f REFERENCES levels, " + good + ") PARTITION BY RANGE (id); CREATE TABLE p1 PARTITION OF users DEFAULT", "", "foreign key f of users to levels is on points or updated_at"},
		"a time that references":             {"CREATE TABLE times (at timestamptz PRIMARY KEY); CREATE TABLE users (points int, CONSTRAINT f FOREIGN KEY (updated_at) REFERENCES times, " + good + "); INSERT INTO times VALUES ('2026-01-01'); INSERT INTO users VALUES (1, 1, now(), '2026-01-01')", "foreign key f of users to times must allow the current time as updated_at, because updates set it: it forbids that", ""},
		"two that reference":                 {"CREATE TABLE towns (points int, town text, PRIMARY KEY (points, town)); CREATE TABLE users (points int, town text, CONSTRAINT f FOREIGN KEY (points, town) REFERENCES towns, " + good + ")", "", "foreign key f of users to towns is on points and other columns"},
		"a reference of id":                  {"CREATE TABLE accounts (id bigint PRIMARY KEY); CREATE TABLE users (points int, CONSTRAINT f FOREIGN KEY (id) REFERENCES accounts, " + good + "); INSERT INTO accounts SELECT generate_series(1, 100)", "", ""},
		"a reference that is disabled":       {"CREATE TABLE levels (points int PRIMARY KEY); CREATE TABLE users (points int, CONSTRAINT f FOREIGN KEY (points) REFERENCES levels, " + good + "); ALTER TABLE users DISABLE TRIGGER ALL", "", ""},
		"a reference to id":                  {"CREATE TABLE users (points int, " + good + "); CREATE TABLE orders (user_id bigint REFERENCES users)", "", ""},
		"a reference to points":              {"CREATE TABLE users (points int, CONSTRAINT u UNIQUE (id, points), " + good + "); CREATE TABLE orders (user_id bigint, points int, CONSTRAINT f FOREIGN KEY (user_id, points) REFERENCES users (id, points))", "", "index u is on points or updated_at\nforeign key f of orders references points or updated_at"},
		"an old time":                        {"CREATE TABLE users (points int, CONSTRAINT c CHECK (updated_at < '2020-01-01'), " + good + "); INSERT INTO users VALUES (1, 1, now(), '2019-01-01')", "constraint c of users must allow the current time as updated_at, because updates set it: it forbids that", ""},
		"a time that ends":                   {"CREATE TABLE users (points int, CONSTRAINT c CHECK (updated_at < '2200-01-01'), " + good + ")", "", "constraint c of users allows the current time as updated_at, but not the year 9999"},
		"no future":                          {"CREATE TABLE users (points int, CONSTRAINT c CHECK (updated_at <= now()), " + good + ")", "", "constraint c of users allows the current time as updated_at, but not the year 9999"},
		"times in order":                     {"CREATE TABLE users (points int, CONSTRAINT c CHECK (updated_at >= inserted_at), " + good + ")", "", ""},
		"a user of the future":               {"CREATE TABLE users (points int, CONSTRAINT c CHECK (updated_at >= inserted_at), " + good + "); INSERT INTO users VALUES (1, 7, '2199-01-01', '2199-01-01')", "constraint c of users must allow the current time as updated_at, because updates set it: user 7 violates it", ""},
		"a rule of both":                     {"CREATE TABLE users (points int, CONSTRAINT c CHECK (points < 50 OR updated_at < '2020-01-01'), " + good + "); INSERT INTO users SELECT 1, i, now(), now() FROM generate_series(1, 100) AS i", "constraint c of users must allow all points in 0..100: it forbids 50", ""},
		"a rule of the row":                  {"CREATE TABLE users (points int, more int, " + good + "); ALTER TABLE users ADD CONSTRAINT c CHECK (users IS DISTINCT FROM NULL)", "", "constraint c of users is on points and other columns"},
		"a rule of nothing":                  {"CREATE TABLE users (points int, " + good + "); INSERT INTO users VALUES (1, 1, now(), now()); ALTER TABLE users ADD CONSTRAINT c CHECK (false) NOT VALID", "constraint c of users must allow all points in 0..100: it forbids 0", ""},
		"a rule of another":                  {"CREATE TABLE users (points int, email text CONSTRAINT c CHECK (email <> ''), " + good + ")", "", ""},
		"not valid":                          {"CREATE TABLE users (points int, email text, " + good + "); INSERT INTO users VALUES (1, '', 7, now(), now()); ALTER TABLE users ADD CONSTRAINT c CHECK (email <> '') NOT VALID", "constraint c of users must be true for all users, because updates test it: user 7 violates it", ""},
		"no longer true":                     {"CREATE TABLE settings (lowest int); INSERT INTO settings VALUES (5); CREATE FUNCTION lowest() RETURNS int LANGUAGE sql RETURN (SELECT lowest FROM settings); CREATE TABLE users (points int, age int CONSTRAINT c CHECK (age >= lowest()), " + good + "); INSERT INTO users VALUES (1, 6, 7, now(), now()); UPDATE settings SET lowest = 10", "constraint c of users must be true for all users, because updates test it: user 7 violates it", ""},
		"no longer true, by date":            {"CREATE TABLE users (points int, ends date, " + good + "); INSERT INTO users VALUES (1, '2020-01-01', 7, now(), now()); ALTER TABLE users ADD CONSTRAINT c CHECK (ends >= CURRENT_DATE) NOT VALID; UPDATE pg_constraint SET convalidated = true WHERE conname = 'c'", "constraint c of users must be true for all users, because updates test it: user 7 violates it", ""},
		"a partition's old user":             {"CREATE TABLE users (points int, name text, " + good + ") PARTITION BY RANGE (id); CREATE TABLE p1 PARTITION OF users FOR VALUES FROM (0) TO (10); CREATE TABLE p2 PARTITION OF users DEFAULT; INSERT INTO users VALUES (1, '', 7, now(), now()), (1, '', 17, now(), now()); ALTER TABLE p2 ADD CONSTRAINT c CHECK (name <> '') NOT VALID", "constraint c of p2 must be true for all users, because updates test it: user 17 violates it", ""},
		"a rule of two, partitioned":         {"CREATE TABLE users (points int, most int DEFAULT 100, CONSTRAINT two CHECK (points <= most), " + good + ") PARTITION BY RANGE (id); CREATE TABLE p1 PARTITION OF users FOR VALUES FROM (0) TO (10); CREATE TABLE p2 PARTITION OF users DEFAULT", "", "constraint two of users is on points and other columns"},
		"columns named as in Check":          {"CREATE TABLE users (points int, value int, name int, wrong int, tested_number int, number int, new_row int, value_row int, " + good + "); ALTER TABLE users ADD CONSTRAINT c CHECK (tested_number + number + new_row + value_row > 0) NOT VALID", "", ""},
		"null, not valid":                    {"CREATE TABLE users (points int, name text DEFAULT '' CONSTRAINT c CHECK (name IS NOT NULL), " + good + "); " + asNotValid, "", ""},
		"a null user, not valid":             {"CREATE TABLE users (points int, name text, " + good + "); INSERT INTO users (id, points, inserted_at, updated_at) VALUES (7, 1, now(), now()); ALTER TABLE users ADD CONSTRAINT c CHECK (name IS NOT NULL) NOT VALID; " + asNotValid, "constraint c of users must be true for all users, because updates test it: user 7 violates it", ""},
		"a partition by points":              {"CREATE TABLE parent (points int, id bigint NOT NULL, inserted_at timestamptz NOT NULL, updated_at timestamptz NOT NULL) PARTITION BY RANGE (points); CREATE TABLE users PARTITION OF parent (PRIMARY KEY (id)) FOR VALUES FROM (0) TO (50); INSERT INTO users SELECT 1, i, now(), now() FROM generate_series(1, 100) AS i", "the partition bound of users must allow all points in 0..100: it forbids 50", ""},
		"a partition by id":                  {"CREATE TABLE parent (points int, id bigint PRIMARY KEY, inserted_at timestamptz NOT NULL, updated_at timestamptz NOT NULL) PARTITION BY RANGE (id); CREATE TABLE users PARTITION OF parent FOR VALUES FROM (0) TO (500)", "", ""},
		"a sum too high":                     {"CREATE TABLE users (points int, g int GENERATED ALWAYS AS (points * 100000000) STORED, " + good + "); INSERT INTO users (points, id, inserted_at, updated_at) SELECT 1, i, now(), now() FROM generate_series(1, 100) AS i", "generated column g of users must allow all points in 0..100: ERROR: integer out of range (SQLSTATE 22003)", ""},
		"a sum of another type":              {"CREATE TABLE users (points int, g smallint GENERATED ALWAYS AS (points * 1000) STORED, " + good + "); INSERT INTO users (points, id, inserted_at, updated_at) SELECT 1, i, now(), now() FROM generate_series(1, 100) AS i", "generated column g of users must allow all points in 0..100: ERROR: smallint out of range (SQLSTATE 22003)", ""},
		"a short text":                       {"CREATE TABLE users (points int, g varchar(2) GENERATED ALWAYS AS (points::text) STORED, " + good + "); INSERT INTO users (points, id, inserted_at, updated_at) SELECT 1, i, now(), now() FROM generate_series(1, 500) AS i", "generated column g of users must allow all points in 0..100: ERROR: value too long for type character varying(2) (SQLSTATE 22001)", ""},
		"short bits":                         {"CREATE TABLE users (points int, g bit(4) GENERATED ALWAYS AS (CASE WHEN points < 50 THEN B'1010' ELSE B'10101' END) STORED, " + good + "); INSERT INTO users (points, id, inserted_at, updated_at) SELECT 1, i, now(), now() FROM generate_series(1, 500) AS i", "generated column g of users must allow all points in 0..100: ERROR: bit string length 5 does not match type bit(4) (SQLSTATE 22026)", ""},
		"short texts":                        {"CREATE TABLE users (points int, g varchar(2)[] GENERATED ALWAYS AS (ARRAY[points::text]) STORED, " + good + "); INSERT INTO users (points, id, inserted_at, updated_at) SELECT 1, i, now(), now() FROM generate_series(1, 500) AS i", "generated column g of users must allow all points in 0..100: ERROR: value too long for type character varying(2) (SQLSTATE 22001)", ""},
		"bits that fit":                      {"CREATE TABLE users (points int, g bit(8) GENERATED ALWAYS AS (points::bit(8)) STORED, a varchar(3)[] GENERATED ALWAYS AS (ARRAY[points::text]) STORED, " + good + ")", "", ""},
		"generated, not null":                {"CREATE TABLE users (points int, g int GENERATED ALWAYS AS (nullif(points, 7)) STORED NOT NULL, " + good + "); INSERT INTO users (points, id, inserted_at, updated_at) SELECT 1, i, now(), now() FROM generate_series(1, 500) AS i", "generated column g of users must allow all points in 0..100: it forbids 7", ""},
		"generated, with a rule":             {"CREATE TABLE users (points int, g int GENERATED ALWAYS AS (points * 2) STORED CONSTRAINT c CHECK (g < 100), " + good + "); INSERT INTO users (points, id, inserted_at, updated_at) SELECT 1, i, now(), now() FROM generate_series(1, 100) AS i", "constraint c of users must allow all points in 0..100: it forbids 50", ""},
		"generated, of a domain":             {"CREATE DOMAIN low AS int CHECK (VALUE < 50); CREATE TABLE users (points int, g low GENERATED ALWAYS AS (points) STORED, " + good + "); INSERT INTO users (points, id, inserted_at, updated_at) SELECT 1, i, now(), now() FROM generate_series(1, 100) AS i", "generated column g of users must allow all points in 0..100: ERROR: value for domain low violates check constraint \"low_check\" (SQLSTATE 23514)", ""},
		"generated of two":                   {"CREATE TABLE users (points int, bonus int, g int GENERATED ALWAYS AS (points + bonus) STORED, " + good + ")", "", "generated column g of users is on points and other columns"},
		"generated of a time":                {"CREATE TABLE users (id bigint PRIMARY KEY, points int, inserted_at timestamp NOT NULL, updated_at timestamp NOT NULL, g int GENERATED ALWAYS AS (extract(epoch FROM updated_at)::int) STORED)", "", "generated column g of users allows the current time as updated_at, but not the year 9999"},
		"generated, fit":                     {"CREATE TABLE users (points int, g numeric(4, 1) GENERATED ALWAYS AS (points / 2.0) STORED NOT NULL, o bigint GENERATED ALWAYS AS (id + 1) STORED, " + good + "); CREATE INDEX ON users (o)", "", ""},
		"generated, indexed":                 {"CREATE TABLE users (points int, g int GENERATED ALWAYS AS (points / 10) STORED, " + good + "); CREATE INDEX i ON users (g)", "", "DROP INDEX i"},
		"a statement's trigger":              {"CREATE TABLE users (points int, " + good + "); CREATE FUNCTION nothing() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'; CREATE TRIGGER look BEFORE UPDATE ON users FOR EACH STATEMENT EXECUTE FUNCTION nothing()", "", "trigger look runs for each batch of each update; updates fail if it raises an error: drop it"},
		"a statement's trigger, after":       {"CREATE TABLE users (points int, " + good + "); CREATE FUNCTION nothing() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'; CREATE TRIGGER look AFTER UPDATE OF points ON users FOR EACH STATEMENT EXECUTE FUNCTION nothing()", "", "trigger look runs for each batch of each update"},
		"a statement's trigger of another":   {"CREATE TABLE users (points int, email text, " + good + "); CREATE FUNCTION nothing() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'; CREATE TRIGGER look AFTER UPDATE OF email ON users FOR EACH STATEMENT EXECUTE FUNCTION nothing()", "", ""},
		"a partition's statement trigger":    {"CREATE TABLE users (points int, " + good + ") PARTITION BY RANGE (id); CREATE TABLE p1 PARTITION OF users DEFAULT; CREATE FUNCTION nothing() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'; CREATE TRIGGER look AFTER UPDATE ON p1 FOR EACH STATEMENT EXECUTE FUNCTION nothing()", "", ""},
		"a deferred trigger":                 {"CREATE TABLE users (points int, " + good + "); CREATE FUNCTION nothing() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'; CREATE CONSTRAINT TRIGGER later AFTER UPDATE ON users DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION nothing()", "", "trigger later runs for each user at each update"},
		"a generated column's trigger":       {"CREATE TABLE users (points int, g int GENERATED ALWAYS AS (points / 10) STORED, " + good + "); CREATE FUNCTION nothing() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'; CREATE TRIGGER look AFTER UPDATE OF g ON users FOR EACH ROW EXECUTE FUNCTION nothing()", "", "trigger look runs for each user at each update"},
		"unique points":                      {"CREATE TABLE users (points int, CONSTRAINT u UNIQUE (points), " + good + "); INSERT INTO users SELECT i - 1, i, now(), now() FROM generate_series(1, 101) AS i", "index u must not be unique on points or updated_at alone, because an update gives several users the same value: ALTER TABLE users DROP CONSTRAINT u", ""},
		"unique points, later":               {"CREATE TABLE users (points int, CONSTRAINT u UNIQUE (points) DEFERRABLE INITIALLY DEFERRED, " + good + "); INSERT INTO users SELECT i - 1, i, now(), now() - i * interval '1s' FROM generate_series(1, 101) AS i", "index u must not be unique on points or updated_at alone, because an update gives several users the same value: ALTER TABLE users DROP CONSTRAINT u", ""},
		"a unique index on updated_at":       {"CREATE TABLE users (points int, " + good + "); CREATE UNIQUE INDEX u ON users (updated_at) INCLUDE (id); INSERT INTO users SELECT i - 1, i, now(), now() - i * interval '1s' FROM generate_series(1, 101) AS i", "index u must not be unique on points or updated_at alone, because an update gives several users the same value: DROP INDEX u", ""},
		"a unique expression":                {"CREATE TABLE users (points int, " + good + "); CREATE UNIQUE INDEX u ON users ((points + 1)); INSERT INTO users SELECT i - 1, i, now(), now() - i * interval '1s' FROM generate_series(1, 101) AS i", "index u must not be unique on points or updated_at alone, because an update gives several users the same value: DROP INDEX u", ""},
		"a unique expression with id":        {"CREATE TABLE users (points int, " + good + "); CREATE UNIQUE INDEX u ON users ((id * 1000 + points))", "", "index u is unique on points or updated_at without id as a column"},
		"points that exclude":                {"CREATE TABLE users (points int, CONSTRAINT x EXCLUDE (points WITH =), " + good + "); INSERT INTO users SELECT i - 1, i, now(), now() - i * interval '1s' FROM generate_series(1, 101) AS i", "index x must not be unique on points or updated_at alone, because an update gives several users the same value: ALTER TABLE users DROP CONSTRAINT x", ""},
		"unique, generated":                  {"CREATE TABLE users (points int, g int GENERATED ALWAYS AS (points + 1) STORED CONSTRAINT u UNIQUE, " + good + "); INSERT INTO users (points, id, inserted_at, updated_at) SELECT i - 1, i, now(), now() FROM generate_series(1, 101) AS i", "index u must not be unique on points or updated_at alone, because an update gives several users the same value: ALTER TABLE users DROP CONSTRAINT u", ""},
		"unique with another":                {"CREATE TABLE users (points int, email text, CONSTRAINT u UNIQUE (points, email), " + good + ")", "", "index u is unique on points or updated_at without id"},
		"unique for some":                    {"CREATE TABLE users (points int, " + good + "); CREATE UNIQUE INDEX u ON users (points) WHERE id > 1000", "", "index u is unique on points or updated_at without id"},
		"unique where points":                {"CREATE TABLE users (points int, email text, " + good + "); CREATE UNIQUE INDEX u ON users (email) WHERE points > 90", "", "index u is on points or updated_at"},
		"an index that fails":                {"CREATE TABLE users (points int, " + good + "); INSERT INTO users SELECT 1, i, now(), now() FROM generate_series(1, 500) AS i; CREATE INDEX i ON users ((100 / points))", "index i must allow all points in 0..100: ERROR: division by zero (SQLSTATE 22012)", ""},
		"an index that does not fail":        {"CREATE TABLE users (points int, " + good + "); CREATE INDEX i ON users ((100 / points)) WHERE points > 0", "", "DROP INDEX i"},
		"points of a domain":                 {"CREATE DOMAIN low AS int CHECK (VALUE < 50); CREATE TABLE users (points low, " + good + ")", "column points must be of type bigint or integer or smallint: it is low", ""},
		"index on the row":                   {"CREATE TABLE users (points int, " + good + "); CREATE FUNCTION number(users) RETURNS bigint IMMUTABLE LANGUAGE sql RETURN $1.id; CREATE INDEX i ON users (number(users))", "", "DROP INDEX i"},
		"index of a partition":               {"CREATE TABLE parent (points int, id bigint PRIMARY KEY, inserted_at timestamptz NOT NULL, updated_at timestamptz NOT NULL) PARTITION BY RANGE (id); CREATE TABLE users PARTITION OF parent FOR VALUES FROM (0) TO (500); CREATE INDEX ON parent (points)", "", "DROP INDEX users_points_idx"},
		"a far year":                         {"CREATE TABLE users (points int, id bigint PRIMARY KEY, inserted_at timestamp NOT NULL, updated_at timestamp NOT NULL); INSERT INTO users VALUES (1, 7, '294276-12-31', now())", "column inserted_at must be within the years 1 to 9999, as in RFC 3339: user 7 has 294276-12-31 00:00:00", ""},
		"before year 1":                      {"CREATE TABLE users (points int, id bigint PRIMARY KEY, inserted_at timestamp NOT NULL, updated_at timestamp NOT NULL); INSERT INTO users VALUES (1, 7, now(), '0044-03-15 BC')", "column updated_at must be within the years 1 to 9999, as in RFC 3339: user 7 has 0044-03-15 00:00:00 BC", ""},
	} {
		t.Run(name, func(t *testing.T) {
			pool := pgtest.Pool(t)
			_, err := pool.Exec(t.Context(), test.setup)
			require.NoError(t, err)
			log := &logBuffer{}
			store, err := pgstore.New(pool, pgstore.Config{Logger: log.logger()})
			require.NoError(t, err)

			if test.want != "" {
				require.EqualError(t, store.Check(t.Context()), "pgstore: table users: "+test.want)
				for code, names := range updateFails {
					if slices.Contains(names, name) {
						_, err := store.UpdateAll(t.Context(), 5)
						var pgErr *pgconn.PgError
						require.ErrorAs(t, err, &pgErr)
						assert.Equal(t, code, pgErr.Code, err)
					}
				}
				return
			}
			require.NoError(t, store.Check(t.Context()))
			warnings := strings.FieldsFunc(test.warn, func(r rune) bool { return r == '\n' })
			for _, warning := range warnings {
				assert.Contains(t, log.String(), warning)
			}
			assert.Equal(t, len(warnings), strings.Count(log.String(), "\n"), log.String())
			require.NoError(t, store.Migrate(t.Context()), "a fit table is left as it is")
			_, err = pool.Exec(t.Context(), "INSERT INTO users (id, points, inserted_at, updated_at) SELECT i, 0, now(), now() FROM generate_series(1, 100) AS i")
			require.NoError(t, err)
			n, err := store.UpdateAll(t.Context(), 5)
			require.NoError(t, err)
			assert.EqualValues(t, 100, n)
			users, err := store.UsersAbove(t.Context(), -1, 101)
			require.NoError(t, err)
			require.Len(t, users, 100)
			for _, u := range users {
				assert.Equal(t, points.Draw(u.ID, 5), u.Points)
			}
			require.NoError(t, store.Check(t.Context()), "it may read the users")
		})
	}
}

// The rights to read the table and to update its two columns suffice.
func TestCheckRights(t *testing.T) {
	for grant, enough := range map[string]bool{
		"SELECT": false,
		"SELECT (id, points, inserted_at, updated_at), UPDATE": false,
		"SELECT, UPDATE (points)":                              false,
		"SELECT, UPDATE (points, updated_at)":                  true,
	} {
		t.Run(grant, func(t *testing.T) {
			_, pool := seeded(t, pgstore.Config{}, 100)
			store, _ := storeOfRole(t, pool, "points_test_rights", "GRANT "+grant+" ON users TO points_test_rights")
			if !enough {
				require.EqualError(t, store.Check(t.Context()), "pgstore: table users: the role needs the right to SELECT it and "+
					"to UPDATE points and updated_at: GRANT SELECT, UPDATE (points, updated_at) ON it")
				return
			}
			require.NoError(t, store.Check(t.Context()))
			require.NoError(t, store.Migrate(t.Context()))
			require.NoError(t, store.Seed(t.Context(), 100))
			n, err := store.UpdateAll(t.Context(), 1)
			require.NoError(t, err)
			assert.EqualValues(t, 100, n)
			users, err := store.UsersAbove(t.Context(), 50, 2)
			require.NoError(t, err)
			assert.Len(t, users, 2)
		})
	}
}

// Names are quoted, whatever characters they have.
func TestNamesAreQuoted(t *testing.T) {
	pool := pgtest.Pool(t)
	const schema, table = `we"ird. schema`, `us'ers"; DROP TABLE x; --`
	_, err := pool.Exec(t.Context(), `CREATE SCHEMA "we""ird. schema"`)
	require.NoError(t, err)
	store, err := pgstore.New(pool, pgstore.Config{Schema: schema, Table: table})
	require.NoError(t, err)
	require.ErrorContains(t, store.Check(t.Context()), schema+"."+table)
	require.NoError(t, store.Migrate(t.Context()))
	require.NoError(t, store.Migrate(t.Context()))
	require.NoError(t, store.Seed(t.Context(), 10))
	n, err := store.UpdateAll(t.Context(), 1)
	require.NoError(t, err)
	assert.EqualValues(t, 10, n)
	users, err := store.UsersAbove(t.Context(), -1, 11)
	require.NoError(t, err)
	assert.Len(t, users, 10)

	missing, err := pgstore.New(pool, pgstore.Config{Schema: "none"})
	require.NoError(t, err)
	require.ErrorContains(t, missing.Migrate(t.Context()), `schema "none" does not exist (SQLSTATE 3F000): CREATE SCHEMA "none", or correct Config.Schema`)
	missing, err = pgstore.New(poolWith(t, pool, func(cfg *pgxpool.Config) {
		cfg.ConnConfig.RuntimeParams["search_path"] = "none"
	}), pgstore.Config{})
	require.NoError(t, err)
	require.ErrorContains(t, missing.Migrate(t.Context()),
		"search_path names no schema that exists: correct it, or set Config.Schema")
}

// Check changes nothing, even if a constraint calls a function that does.
func TestCheckChangesNothing(t *testing.T) {
	pool := pgtest.Pool(t)
	execSQL(t, pool, `CREATE TABLE seen (number int);
		CREATE FUNCTION see(int) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN INSERT INTO seen VALUES ($1); RETURN true; END $$;
		CREATE TABLE users (id bigserial PRIMARY KEY, points int NOT NULL CHECK (see(points)), inserted_at timestamptz NOT NULL,
			updated_at timestamptz NOT NULL)`)
	store, err := pgstore.New(pool, pgstore.Config{})
	require.NoError(t, err)
	require.NoError(t, store.Check(t.Context()))
	require.NoError(t, store.Migrate(t.Context()))
	assert.Zero(t, queryOne[int](t, pool, "SELECT count(*) FROM seen"))
}

// Check warns of functions and operators that search_path finds instead of PostgreSQL's.
func TestCheckOfSearchPath(t *testing.T) {
	for name, test := range map[string]struct{ path, create, want string }{
		"function":        {"app, pg_catalog, public", "CREATE FUNCTION app.now() RETURNS timestamptz LANGUAGE sql RETURN timestamptz '-infinity'", "search_path finds function app.now() (and 0 others) before that of pg_catalog"},
		"operator":        {"app, pg_catalog, public", "CREATE FUNCTION app.less(bigint, bigint) RETURNS boolean LANGUAGE sql RETURN false; CREATE OPERATOR app.<= (FUNCTION = app.less, LEFTARG = bigint, RIGHTARG = bigint)", "search_path finds operator app.<=(bigint,bigint) (and 0 others) before that of pg_catalog"},
		"other arguments": {"app, pg_catalog, public", "CREATE FUNCTION app.now(int) RETURNS timestamptz LANGUAGE sql RETURN timestamptz '-infinity'", ""},
		"later":           {"pg_catalog, app, public", "CREATE FUNCTION app.now() RETURNS timestamptz LANGUAGE sql RETURN timestamptz '-infinity'", ""},
		"implicit":        {"app, public", "CREATE FUNCTION app.now() RETURNS timestamptz LANGUAGE sql RETURN timestamptz '-infinity'", ""},
	} {
		t.Run(name, func(t *testing.T) {
			_, pool := open(t, pgstore.Config{}, nil)
			execSQL(t, pool, "CREATE SCHEMA app; "+test.create)
			log := &logBuffer{}
			store, err := pgstore.New(poolWith(t, pool, func(cfg *pgxpool.Config) {
				cfg.ConnConfig.RuntimeParams["search_path"] = test.path
			}), pgstore.Config{Logger: log.logger()})
			require.NoError(t, err)
			require.NoError(t, store.Check(t.Context()))
			if test.want == "" {
				assert.Empty(t, log.String())
			} else {
				assert.Contains(t, log.String(), test.want)
			}
		})
	}
}

// Check does not test a foreign key if the role may not read the referenced table, which updates need not.
func TestCheckWithoutRightToReferencedTable(t *testing.T) {
	pool := pgtest.Pool(t)
	execSQL(t, pool, `CREATE ROLE points_test_updater; CREATE TABLE levels (points int PRIMARY KEY);
		CREATE TABLE users (id bigint PRIMARY KEY, points int CONSTRAINT f REFERENCES levels, inserted_at timestamptz NOT NULL,
			updated_at timestamptz NOT NULL);
		GRANT SELECT, UPDATE ON users TO points_test_updater`)
	t.Cleanup(func() {
		_, err := pool.Exec(context.Background(), "DROP OWNED BY points_test_updater; DROP ROLE points_test_updater")
		assert.NoError(t, err)
	})
	cfg := pool.Config()
	cfg.ConnConfig.RuntimeParams["role"] = "points_test_updater"
	updater, err := pgxpool.NewWithConfig(t.Context(), cfg)
	require.NoError(t, err)
	t.Cleanup(updater.Close)
	log := &logBuffer{}
	store, err := pgstore.New(updater, pgstore.Config{Logger: log.logger()})
	require.NoError(t, err)
	require.NoError(t, store.Check(t.Context()))
	assert.Contains(t, log.String(), "foreign key f of users to levels could not be tested")
}

// A store without a shared state needs none of its tables, even if they are locked.
func TestCheckBesideLockedServers(t *testing.T) {
	_, pool := sharedUsers(t)
	tx, err := pool.Begin(t.Context())
	require.NoError(t, err)
	defer tx.Rollback(t.Context()) //nolint:errcheck // it ends with the connection
	_, err = tx.Exec(t.Context(), "LOCK TABLE users_servers IN ACCESS EXCLUSIVE MODE")
	require.NoError(t, err)
	store, err := pgstore.New(pool, pgstore.Config{})
	require.NoError(t, err)
	require.NoError(t, store.Check(t.Context()))
	require.NoError(t, store.Migrate(t.Context()))
}

// An error is one line, even if the connection is lost, so that the end of a transaction fails as well.
func TestCheckErrorIsOneLine(t *testing.T) {
	pool := pgtest.Pool(t)
	execSQL(t, pool, `CREATE FUNCTION terminate(int) RETURNS boolean LANGUAGE sql AS 'SELECT pg_terminate_backend(pg_backend_pid())';
		CREATE TABLE users (id bigint PRIMARY KEY, points int CONSTRAINT c CHECK (terminate(points)),
			inserted_at timestamptz NOT NULL, updated_at timestamptz NOT NULL)`)
	store, err := pgstore.New(pool, pgstore.Config{})
	require.NoError(t, err)
	err = store.Check(t.Context())
	require.ErrorContains(t, err, "57P01")
	assert.NotContains(t, err.Error(), "\n")
}

// Since PostgreSQL 16 a partition's generated column may have another expression than the table's.
func TestCheckOfPartitionColumns(t *testing.T) {
	pool := pgtest.Pool(t)
	if queryOne[int](t, pool, "SELECT current_setting('server_version_num')::int") < 160000 {
		t.Skip("before PostgreSQL 16, a generated column of a partition must have the table's expression")
	}
	const columns = "id bigint PRIMARY KEY, points int, inserted_at timestamptz NOT NULL, updated_at timestamptz NOT NULL"
	execSQL(t, pool, `
		CREATE TABLE users (twice smallint GENERATED ALWAYS AS (points) STORED, `+columns+`) PARTITION BY RANGE (id);
		CREATE TABLE p (twice smallint GENERATED ALWAYS AS (points * 1000) STORED, `+columns+`);
		ALTER TABLE users ATTACH PARTITION p FOR VALUES FROM (0) TO (500);
		INSERT INTO users (id, points, inserted_at, updated_at) SELECT i, 1, now(), now() FROM generate_series(1, 100) AS i`)
	store, err := pgstore.New(pool, pgstore.Config{})
	require.NoError(t, err)
	require.EqualError(t, store.Check(t.Context()), "pgstore: table users: generated column twice of p must allow all "+
		"points in 0..100: ERROR: smallint out of range (SQLSTATE 22003)")
	_, err = store.UpdateAll(t.Context(), 5)
	require.ErrorContains(t, err, "22003")
}
