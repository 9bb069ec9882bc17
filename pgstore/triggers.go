package pgstore

import (
	"context"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
)

// relations are the table with oid $1 and its partitions.
const relations = "(SELECT $1::bigint::oid UNION SELECT relid FROM pg_partition_tree($1::bigint::oid))"

// The triggers and rules that an update of the table with oid $1 sets off. The rules of its partitions do not apply.
const (
	updateTriggers = "SELECT tgname FROM pg_trigger WHERE tgrelid IN " + relations +
		" AND NOT tgisinternal AND tgenabled IN " + enabled + " AND tgtype & 16 <> 0" // TRIGGER_TYPE_UPDATE
	updateRules = "SELECT rulename FROM pg_rewrite WHERE ev_class = $1::bigint::oid" +
		" AND ev_enabled IN " + enabled + " AND ev_type = '2'" // CMD_UPDATE
)

// enabled are the values of tgenabled and ev_enabled of triggers and rules that the session sets off: always, or
// because of session_replication_role.
const enabled = `('A', CASE current_setting('session_replication_role') WHEN 'replica' THEN 'R' ELSE 'O' END::"char")`

// checkRules returns an error if a rule replaces each update.
func checkRules(ctx context.Context, q querier, t *table) error {
	var rule *string
	err := q.QueryRow(ctx, "SELECT min(rulename::text) FROM ("+updateRules+
		" AND is_instead AND ev_qual = '<>') AS rules", int64(t.oid)).Scan(&rule)
	if err == nil && rule != nil {
		return fmt.Errorf("rule %s must not replace its updates: DROP RULE %s ON %s",
			*rule, pgx.Identifier{*rule}.Sanitize(), t.qualified)
	}
	return err
}

// warnTriggers warns of triggers and rules that run at each update.
func (s *Store) warnTriggers(ctx context.Context, q querier, t *table) error {
	const ofUpdated = " AND (tgattr::text = '' OR EXISTS (SELECT FROM (" + updatedColumns + ") AS updated" +
		" WHERE attrelid = tgrelid AND attnum = ANY (tgattr)))"
	rows, err := q.Query(ctx, "SELECT 'trigger ' || tgname, true FROM ("+updateTriggers+ofUpdated+
		` AND tgtype & 1 <> 0) AS of_rows -- TRIGGER_TYPE_ROW
		UNION SELECT 'trigger ' || tgname, false FROM (`+updateTriggers+ofUpdated+
		` AND tgtype & 1 = 0 AND tgrelid = $1::bigint::oid) AS of_statements
		UNION SELECT 'rule ' || rulename, true FROM (`+updateRules+`) AS rules ORDER BY 1`, int64(t.oid))
	if err != nil {
		return err
	}
	type trigger struct {
		Name string
		Row  bool
	}
	triggers, err := pgx.CollectRows(rows, pgx.RowToStructByPos[trigger])
	for _, trigger := range triggers {
		effect := " runs for each batch of each update; updates fail if it raises an error"
		if trigger.Row {
			effect = " runs for each user at each update, which makes updates slow; they fail if it raises an error, skips a " +
				"user or keeps its points"
		}
		s.warn(ctx, t, trigger.Name+effect+": drop it unless you need it")
	}
	return err
}

// skipCauses returns the triggers, rules and policies that can make an update of the table skip rows, as the end of a
// sentence.
func (u *update) skipCauses(ctx context.Context, tx pgx.Tx) string {
	rows, err := tx.Query(ctx, `
		SELECT 'trigger ' || tgname FROM (`+updateTriggers+`) AS triggers
		UNION ALL SELECT 'rule ' || rulename FROM (`+updateRules+`) AS rules
		UNION ALL SELECT 'policy ' || polname FROM pg_policy WHERE polrelid = $1::bigint::oid
		ORDER BY 1`, int64(u.table.oid))
	if err != nil {
		return ""
	}
	names, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil || len(names) == 0 {
		return ""
	}
	return ": see " + strings.Join(names, ", ")
}
