package pgtest

import (
	"context"
	"fmt"
	"os/exec"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/pointsapp/pointsapp/internal/testenv"
)

// becomeStandby is the command of a standby's container: it copies the primary at the address $1 and follows it.
const becomeStandby = `
install --directory --owner=postgres --mode=0700 "$PGDATA"
exec gosu postgres sh -c 'pg_basebackup --host="$1" --username=postgres --pgdata="$PGDATA" --write-recovery-conf &&
	exec postgres' sh "$1"
`

// startStandby starts a streaming standby of a primary in Docker.
func startStandby(primary *server) (*server, error) {
	cfg, err := pgx.ParseConfig(primary.url)
	if err != nil {
		return nil, err
	}
	// The image's pg_hba.conf allows no replication connections from other hosts.
	for _, statement := range []string{
		`COPY (SELECT 'host replication all 0.0.0.0/0 scram-sha-256') TO PROGRAM 'cat >>"$PGDATA/pg_hba.conf"'`,
		"SELECT pg_reload_conf()",
	} {
		if err := primary.exec(statement); err != nil {
			return nil, err
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), runTimeout)
	defer cancel()
	inspected, err := exec.CommandContext(ctx, "docker", "inspect",
		"--format", "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}", primary.container).Output()
	if err != nil {
		return nil, fmt.Errorf("docker inspect %s: %w", primary.container, err)
	}
	address := strings.TrimSpace(string(inspected))
	image := image()
	return startGuarded(image, func(name string) (string, error) {
		port, err := testenv.FreePort() //nolint:contextcheck // it takes no time
		if err != nil {
			return "", err
		}
		err = docker(ctx, "run", "--detach", "--name", name, "--env", "PGPASSWORD="+cfg.Password,
			"--publish", port+":5432", image, "sh", "-c", becomeStandby, "sh", address)
		if err != nil {
			return "", err
		}
		return firstToAnswer(ctx,
			connectionString(cfg.Password, "127.0.0.1", port), connectionString(cfg.Password, cfg.Host, port))
	})
}
