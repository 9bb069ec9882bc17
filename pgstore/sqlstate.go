package pgstore

import (
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5/pgconn"
)

// SQLSTATE codes of PostgreSQL, in their order.
const (
	protocolViolation        = "08P01"
	featureNotSupported      = "0A000" // also of a cached plan whose result would have other types
	divisionByZero           = "22012"
	uniqueViolation          = "23505"
	readOnlyTransaction      = "25006"
	idleInTransactionTimeout = "25P03"
	transactionTimeout       = "25P04"
	invalidSchemaName        = "3F000"
	serializationFailure     = "40001"
	insufficientPrivilege    = "42501"
	undefinedColumn          = "42703"
	duplicateObject          = "42710"
	undefinedFunction        = "42883"
	undefinedTable           = "42P01"
	duplicateTable           = "42P07"
	invalidColumnReference   = "42P10" // also a publication with columns that are not in the replica identity
	invalidTableDefinition   = "42P16" // Citus: the table is not distributed any longer
	lockNotAvailable         = "55P03"
	queryCanceled            = "57014" // by statement_timeout, or by pg_cancel_backend
	noDataFound              = "P0002"
	internalError            = "XX000"
)

// sqlState returns the SQLSTATE of an error, or "" if PostgreSQL did not send it.
func sqlState(err error) string {
	if pgErr, ok := errors.AsType[*pgconn.PgError](err); ok {
		return pgErr.Code
	}
	return ""
}

// withRemedy adds to an error of PostgreSQL what to do about it: grant missing rights, or PostgreSQL's hint, which pgx
// leaves out.
func withRemedy(err error) error {
	pgErr, ok := errors.AsType[*pgconn.PgError](err)
	switch {
	case !ok:
		return err
	case pgErr.Code == insufficientPrivilege:
		return fmt.Errorf("%w: grant the role the rights that Check names", err)
	case pgErr.Hint != "":
		return fmt.Errorf("%w: %s", err, pgErr.Hint)
	case pgErr.Code == invalidColumnReference:
		return fmt.Errorf("%w: change the publication or the replica identity: %s", err, pgErr.Detail)
	}
	return err
}
