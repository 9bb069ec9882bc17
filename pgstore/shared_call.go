package pgstore

import (
	"context"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"
)

// A sharedFunction is a function of the shared state.
type sharedFunction struct{ suffix, results string }

// callShared calls a function of the shared state of the table.
func (s sharedState) callShared(ctx context.Context, f sharedFunction, args []any, results ...any) (*table, error) {
	t, err := s.table(ctx)
	if err != nil {
		return nil, err
	}
	return t, s.forgetIfGone(t, s.withConn(ctx, func(conn *pgx.Conn) error {
		return s.call(ctx, conn, t, f, args, results...)
	}))
}

// call calls a function of the shared state in a transaction of its own, and scans its one row. If it waited for
// another session before it failed, the error names that.
func (s sharedState) call(
	ctx context.Context, conn *pgx.Conn, t *table, f sharedFunction, args []any, results ...any,
) error {
	return s.nameWaits(ctx, conn, func() error { return s.callOnce(ctx, conn, t, f, args, results) })
}

func (s sharedState) callOnce(
	ctx context.Context, conn *pgx.Conn, t *table, f sharedFunction, args, results []any,
) error {
	if !s.explicitIsolation.Load() {
		query := f.query(t, args, func(i int) string { return "$" + strconv.Itoa(i+1) })
		err := conn.QueryRow(ctx, query, args...).Scan(results...)
		if sqlState(err) != wrongIsolation {
			return standbyCallError(ctx, conn, err)
		}
		s.explicitIsolation.Store(true) // default_transaction_isolation is not READ COMMITTED
	}
	query := f.query(t, args, func(i int) string { return literal(args[i]) })
	return standbyCallError(ctx, conn, callInReadCommitted(ctx, conn, query, results))
}

// standbyCallError returns ErrReadOnly if err is the failure of a call on a standby, where writes fail and so do reads
// of an unlogged sequence, else err.
func standbyCallError(ctx context.Context, conn *pgx.Conn, err error) error {
	if code := sqlState(err); code != readOnlyTransaction && code != featureNotSupported {
		return err
	}
	var standby bool
	if failed := conn.QueryRow(ctx, "SELECT pg_is_in_recovery()").Scan(&standby); failed != nil || !standby {
		return err
	}
	return ErrReadOnly
}

// query returns the call of a function. The casts give the arguments the types of the parameters in every query mode of
// pgx.
func (f sharedFunction) query(t *table, args []any, value func(i int) string) string {
	values := make([]string, len(args))
	for i, arg := range args {
		values[i] = value(i) + "::" + sqlType(arg)
	}
	return "SELECT " + f.results + " FROM " + t.object(f.suffix) + "(" + strings.Join(values, ", ") + ")"
}

// callInReadCommitted executes a query in a transaction of its own, as one message of the simple protocol.
func callInReadCommitted(ctx context.Context, conn *pgx.Conn, query string, results []any) error {
	all, err := conn.PgConn().Exec(ctx, "BEGIN ISOLATION LEVEL READ COMMITTED; "+query+"; COMMIT").ReadAll()
	if err != nil {
		if !conn.IsClosed() && conn.PgConn().TxStatus() != 'I' { // COMMIT was not reached
			_, _ = conn.Exec(ctx, "ROLLBACK") // if it fails, the pool closes the connection
		}
		return err
	}
	if len(all) != 3 || len(all[1].Rows) != 1 || len(all[1].Rows[0]) != len(results) {
		return fmt.Errorf("the function returned no row: %s", query)
	}
	for i, field := range all[1].FieldDescriptions {
		if err := conn.TypeMap().Scan(field.DataTypeOID, field.Format, all[1].Rows[0][i], results[i]); err != nil {
			return err
		}
	}
	return nil
}

// sqlType returns the type of an argument in SQL.
func sqlType(arg any) string {
	switch arg.(type) {
	case int32:
		return "integer"
	case int64, *int64:
		return "bigint"
	case bool, *bool:
		return "boolean"
	default:
		return "text"
	}
}

// literal returns an argument as a constant of SQL. Text is in hexadecimal, which needs no quoting in any encoding.
func literal(arg any) string {
	switch v := arg.(type) {
	case *int64:
		if v == nil {
			return "NULL"
		}
		return "(" + strconv.FormatInt(*v, 10) + ")"
	case *bool:
		if v == nil {
			return "NULL"
		}
		return strconv.FormatBool(*v)
	case string:
		return "convert_from(decode('" + hex.EncodeToString([]byte(v)) + "', 'hex'), 'UTF8')"
	default:
		return fmt.Sprintf("(%v)", v)
	}
}
