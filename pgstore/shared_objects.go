package pgstore

import (
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/pointsapp/pointsapp/points"
)

// sharedVersion is the version of the objects of a shared state. A change of a table or of a function needs the next
// number and, for a table, a migration. Servers of two versions run side by side during a rolling restart, so a
// function keeps its parameters and results: one with others gets a new name.
const sharedVersion = 1

// sharedComment begins the comment of each object of a shared state. The version follows. An object without it belongs
// to somebody else.
const sharedComment = "pointsapp/pgstore: shared state version "

// orderLock is the number of the lock of a table that orders queries and ticks, beside seedLock and updateLock. Its
// holder may lock rows, but the holder of a row never waits for it.
const orderLock = 3

// A sharedObject is a relation or a function of the shared state.
type sharedObject struct {
	kind   string // TABLE, SEQUENCE or FUNCTION
	name   string // unquoted, without the schema
	id     string // for SQL: schema and name, quoted, with the types of the parameters of a function
	rights []string
	create string // SQL that creates it, or replaces a function
	fill   string // SQL that inserts the one row of a table if it is empty; "" for all others
	body   string // of a function
}

// sharedObjects returns the objects of a table's shared state, in the order of their creation.
func (t *table) sharedObjects() []sharedObject {
	relation := func(kind, suffix, create string, rights ...string) sharedObject {
		return sharedObject{kind: kind, name: t.relation + suffix, id: t.object(suffix), rights: rights, create: create}
	}
	function := func(suffix, parameters, results, settings, body string) sharedObject {
		types := make([]string, 0, 16)
		for parameter := range strings.SplitSeq(parameters, ", ") {
			_, kind, _ := strings.Cut(parameter, " ")
			types = append(types, kind)
		}
		return sharedObject{
			kind: "FUNCTION", name: t.relation + suffix, id: t.object(suffix) + "(" + strings.Join(types, ", ") + ")",
			rights: []string{"EXECUTE"}, body: body,
			create: "CREATE OR REPLACE FUNCTION " + t.object(suffix) + "(" + parameters + ", " + results +
				") LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET lock_timeout = '2s'" + settings +
				" AS " + quoteLiteral(body),
		}
	}
	names := t.sharedNames()
	oneRow := func(suffix, create, fill string) sharedObject {
		object := relation("TABLE", suffix, names.Replace(create), "SELECT", "UPDATE")
		object.fill = names.Replace(fill)
		return object
	}
	return []sharedObject{
		relation("SEQUENCE", "_clock", "CREATE UNLOGGED SEQUENCE "+t.object("_clock")+" MINVALUE 0 START 0",
			"SELECT", "UPDATE"),
		oneRow("_bound", createBound, fillBound),
		oneRow("_state", createState, fillState),
		relation("TABLE", "_servers", names.Replace(createServers), "SELECT", "INSERT", "UPDATE", "DELETE"),
		relation("TABLE", "_updates", names.Replace(createUpdates), "SELECT", "INSERT", "UPDATE", "DELETE"),
		function("_answer", answerParameters, answerResults, " SET plan_cache_mode = force_generic_plan",
			names.Replace(answerBody)),
		function("_sync", syncParameters, syncResults, "", names.Replace(syncBody)),
		function("_configure", configureParameters, configureResults, "", names.Replace(configureBody)),
	}
}

// object returns the qualified name of one of the table's objects, quoted for SQL.
func (t *table) object(suffix string) string {
	return pgx.Identifier{t.schema, t.relation + suffix}.Sanitize()
}

// quoteLiteral returns a string constant of SQL, whatever standard_conforming_strings says.
func quoteLiteral(s string) string {
	return "E'" + strings.NewReplacer("'", "''", `\`, `\\`).Replace(s) + "'"
}

// sharedNames replaces the placeholders of the SQL in shared_sql.go: the names of the objects, and everything else that
// is determined in Go.
func (t *table) sharedNames() *strings.Replacer {
	read := readParams{
		min: "points_answer.min_number", limit: "$2", from: "points_answer.first_page", to: "points_answer.end_page",
	}
	const (
		user = "ARRAY[id::bigint, points::bigint, (extract(epoch FROM inserted_at) * 1000000)::bigint," +
			" (extract(epoch FROM updated_at) * 1000000)::bigint]"
		users = "array_agg(" + user + "), (((array_agg(ctid))[1])::text::point)[0]::bigint"
	)
	collect := func(query string) string { return "SELECT " + users + " FROM (" + query + ") AS found" }
	inTable := read
	inTable.min, inTable.limit = "$1", "$2"
	return strings.NewReplacer(
		"{clock}", t.object("_clock"),
		"{bound}", t.object("_bound"),
		"{state}", t.object("_state"),
		"{servers}", t.object("_servers"),
		"{updates}", t.object("_updates"),
		"{clock_name}", quoteLiteral(t.object("_clock")),
		// The key is the oid of the clock: another table may get the name of the users' table.
		"{lock_order}", "pg_advisory_xact_lock(hashtextextended("+quoteLiteral(t.object("_clock"))+"::regclass::oid::text, "+
			strconv.Itoa(orderLock)+"))",
		// A double has all microseconds of the years 1834 to 2106, and costs less than a numeric.
		"{now}", "(date_part('epoch', clock_timestamp()) * 1000000)::bigint",
		"{instance_timeout}", strconv.FormatInt(points.InstanceTimeout.Microseconds(), 10),
		"{pages}", t.pagesQuery(user, read),
		"{sample}", collect(t.sampleQuery(read)),
		"{user_values}", strconv.Itoa(userValues),
		"{force_bitmap_scan}", strings.TrimPrefix(forceBitmapScan, "SELECT "),
		"{table}", quoteLiteral(collect(t.tableQuery(inTable))),
		"{max_points}", strconv.Itoa(points.MaxPoints),
		"{pages_per_read}", strconv.Itoa(pagesPerRead),
		"{max_updates}", strconv.Itoa(points.MaxSharedUpdates),
		"{unfinished}", strconv.Itoa(int(points.UpdateUnfinished)),
		"{succeeded}", strconv.Itoa(int(points.UpdateSucceeded)),
		"{failed}", strconv.Itoa(int(points.UpdateFailed)),
		"{skipped}", strconv.Itoa(int(points.UpdateSkipped)),
		"{from_pages}", strconv.Itoa(fromPages),
		"{from_sample}", strconv.Itoa(fromSample),
		"{from_table}", strconv.Itoa(fromTable),
		"{bound_ahead}", strconv.Itoa(boundAhead),
		"{bound_margin}", strconv.Itoa(boundMargin),
		"{max_clock_wait}", strconv.Itoa(maxClockWait),
		"{forget_server_after}", strconv.FormatInt(forgetServerAfter, 10),
	)
}
