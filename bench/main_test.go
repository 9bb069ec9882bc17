// Package bench has the benchmarks of the library and the reference server. README.md has results and commands.
package bench

import (
	"os"
	"testing"

	"github.com/pointsapp/pointsapp/internal/pgtest"
)

func TestMain(m *testing.M) {
	if database := os.Getenv(serverEnv); database != "" {
		os.Exit(runServer(database))
	}
	if os.Getenv(plainEnv) != "" {
		os.Exit(runPlain())
	}
	os.Exit(pgtest.Main(m).Run())
}
