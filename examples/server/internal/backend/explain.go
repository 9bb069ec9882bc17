package backend

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/pointsapp/pointsapp/pgstore"
)

// insufficientPrivilege is the SQLSTATE of an operation that the role has no right to.
const insufficientPrivilege = "42501"

// queryCanceled is the SQLSTATE of a statement that was cancelled, by statement_timeout for example.
const queryCanceled = "57014"

// see names the setting of the connection string.
const see = "see -database-url (DATABASE_URL)"

// explain turns an error of the database at the start into one line that says where, what, and what to do about it.
func explain(err error, c *pgx.ConnConfig) error {
	where := "PostgreSQL at " + strings.Join(hosts(c), ", ")
	if pgErr, ok := errors.AsType[*pgconn.PgError](err); ok {
		return fmt.Errorf("%s: %s", where, explainSQL(pgErr, err, c))
	}
	if connectErr, ok := errors.AsType[*pgconn.ConnectError](err); ok {
		return fmt.Errorf("%s: %s", where, explainConnect(connectErr, c))
	}
	if errors.Is(err, context.DeadlineExceeded) || pgconn.Timeout(err) {
		return fmt.Errorf("%s: no answer in time: %s: if there is a pooler, raise its pool size (default_pool_size of "+
			"PgBouncer)", where, OneLine(err))
	}
	if errors.Is(err, pgstore.ErrReadOnly) {
		return fmt.Errorf("%s: %s, %s", where, OneLine(err), see)
	}
	if isLost(err) {
		return fmt.Errorf("%s: the connection was lost: %s: start the server again",
			where, OneLine(err))
	}
	if strings.Contains(err.Error(), "GRANT ") { // it names the role's missing rights
		return fmt.Errorf("%s: %s", where, grantTo(quoteName(c.User), OneLine(err)))
	}
	if strings.Contains(err.Error(), "shared state") {
		return fmt.Errorf("%s: %s: or set -shared=false (SHARED)", where, OneLine(err))
	}
	return fmt.Errorf("%s: %s: change or rename the table, or use another database, %s", where, OneLine(err), see)
}

// hosts returns the hosts of the connection string, with ports.
func hosts(c *pgx.ConnConfig) []string {
	all := []string{net.JoinHostPort(c.Host, strconv.Itoa(int(c.Port)))}
	for _, f := range c.Fallbacks { // other hosts, and the same ones without TLS
		if host := net.JoinHostPort(f.Host, strconv.Itoa(int(f.Port))); !slices.Contains(all, host) {
			all = append(all, host)
		}
	}
	return all
}

func explainConnect(err *pgconn.ConnectError, c *pgx.ConnConfig) string {
	dnsErr, ok := errors.AsType[*net.DNSError](err)
	switch {
	case ok && dnsErr.IsNotFound:
		return "no such host: " + see
	case errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, syscall.ENOENT): // ENOENT: its socket
		return "nothing listens there: start it, or " + see
	case pgconn.Timeout(err):
		return fmt.Sprintf("no answer within %v: check firewalls, or %s", c.ConnectTimeout, see)
	default:
		return "cannot connect: " + OneLine(err.Unwrap()) + ": " + see
	}
}

// explainSQL explains what PostgreSQL itself reports; err wraps it.
func explainSQL(reported *pgconn.PgError, err error, c *pgx.ConnConfig) string {
	message := reported.Message
	switch reported.Code {
	case "28000", "28P01": // invalid authorization specification, invalid password
		return message + ": check user and password, " + see
	case "3D000": // invalid catalog name
		return message + ": create it (CREATE DATABASE), or " + see
	case "3F000": // invalid schema name
		return message + ": create it (CREATE SCHEMA), correct search_path, or see -schema (SCHEMA)"
	case insufficientPrivilege:
		role := quoteName(c.User)
		if _, connecting := errors.AsType[*pgconn.ConnectError](err); connecting {
			return fmt.Sprintf("%s: role %s needs the right to connect (GRANT CONNECT ON DATABASE %s TO %s)",
				message, role, quoteName(c.Database), role)
		}
		if _, seeding := errors.AsType[seedError](err); seeding {
			return fmt.Sprintf("%s: role %s needs the right to fill the empty table (GRANT INSERT, UPDATE on it and, for a "+
				"serial id, USAGE on its sequence TO %s), or start with -users=0 (USERS)", message, role, role)
		}
		if unfit, ok := errors.AsType[unfitError](err); ok && !strings.Contains(unfit.Error(), "no such table") {
			return explainUnfit(message, OneLine(unfit), role)
		}
		return fmt.Sprintf("%s: role %s needs the right to create the table (GRANT CREATE ON SCHEMA ... TO %s), or a table "+
			"that has users and that it may SELECT and UPDATE", message, role, role)
	case "42704", "42602", "22023": // undefined object, invalid name, invalid parameter value
		if _, connecting := errors.AsType[*pgconn.ConnectError](err); connecting {
			// The message quotes it: it may be a piece of a password.
			return "the connection string sets a parameter that the server does not accept: " + see
		}
		return OneLine(err)
	case "25006": // read only SQL transaction
		return message + ": it may be a standby: use the primary (target_session_attrs=read-write), " + see
	case "53300": // too many connections
		return message + ": close others, raise max_connections, or lower pool_max_conns in the URL (4 are needed)"
	case queryCanceled:
		return OneLine(err) + ": raise statement_timeout (ALTER ROLE ... SET statement_timeout)"
	case "57P03": // cannot connect now
		return message + ": start the server again when it is up"
	default:
		return OneLine(err)
	}
}

// explainUnfit explains why a role without the right to migrate the table cannot use it as it is.
func explainUnfit(message, unfit, role string) string {
	text := fmt.Sprintf("%s: role %s may not migrate the table (start the server once as its owner, or GRANT CREATE ON "+
		"SCHEMA ... TO %s), nor use it as it is: ", message, role, role)
	if strings.Contains(unfit, "GRANT ") {
		unfit = grantTo(role, unfit)
	}
	if strings.Contains(unfit, "shared state") {
		unfit += ": or set -shared=false (SHARED)"
	}
	return text + unfit
}

// grantTo adds the role to text that ends with one or more GRANT statements.
func grantTo(role, text string) string {
	to := " TO " + role
	return strings.ReplaceAll(text, "; GRANT", to+"; GRANT") + to
}

var plainName = regexp.MustCompile("^[a-z_][a-z0-9_]*$")

// quoteName returns a name for SQL, quoted if it has characters that need it.
func quoteName(name string) string {
	if plainName.MatchString(name) {
		return name
	}
	return pgx.Identifier{name}.Sanitize()
}

// isLost reports whether the connection was lost, rather than something being wrong with the table.
func isLost(err error) bool {
	_, ok := errors.AsType[net.Error](err)
	return ok || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF)
}

// OneLine returns the text of an error without line breaks. It drops repeated lines: pgx lists the same failure for
// each attempt, with and without TLS.
func OneLine(err error) string {
	var lines []string
	for line := range strings.Lines(err.Error()) {
		line = strings.Join(strings.Fields(line), " ")
		if line != "" && !slices.Contains(lines, line) {
			lines = append(lines, line)
		}
	}
	return strings.Join(lines, " ")
}
