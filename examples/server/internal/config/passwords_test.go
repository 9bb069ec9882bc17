package config_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/pointsapp/pointsapp/examples/server/internal/config"
)

// passwordForms are ways to write a connection string; PW stands for a password pasted in without escaping.
func passwordForms() []string {
	return []string{
		"postgres://me:PW@db/points",
		"postgresql://me:PW@db:5432/points?sslmode=disable",
		"postgres://:PW@db",
		"postgres://me:PW@[::1]:5432,other/points#x",
		"postgres://db/points?user=me&password=PW",
		"postgres://db/points?password=PW&user=me",
		"host=db user=me password=PW",
		"password=PW host=db dbname=points",
		"host=db user=me password='PW' dbname=points",
	}
}

// printed returns everything that the program prints of a connection string.
func printed(t *testing.T, args, environ []string) string {
	t.Helper()
	var out bytes.Buffer
	cfg, _, err := config.Parse(args, environ, io.Discard)
	encoded, jsonErr := json.Marshal(cfg) //nolint:musttag // an error is fine, a leak is not
	require.NoError(t, jsonErr)
	noTime := &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey {
			return slog.Attr{} // its digits would be taken for a password's
		}
		return a
	}}
	slog.New(slog.NewTextHandler(&out, noTime)).Info("", "cfg", cfg, "url", cfg.DatabaseURL)
	slog.New(slog.NewJSONHandler(&out, noTime)).Info("", "cfg", cfg, "url", cfg.DatabaseURL)
	cfg.Print(&out)
	fmt.Fprintf(&out, "%v %v %+v %#v %s %s", err, cfg, cfg, cfg, cfg.DatabaseURL, encoded)
	return out.String()
}

// No piece of a password is printed, whichever characters it has, also where they should have been escaped.
func TestNoPieceOfAPasswordIsPrinted(t *testing.T) {
	t.Parallel()
	const special = "@/?#:%&= '\"[]\\,;\n+!"
	for _, pieces := range [][3]string{{"7531", "s3cr2", "s3cr3"}, {"s3cr1", "7532", "s3cr3"}, {"s3cr1", "s3cr2", "7533"}} {
		for _, first := range special {
			for _, second := range "@ " {
				password := pieces[0] + string(first) + pieces[1] + string(second) + pieces[2]
				for _, form := range passwordForms() {
					given := strings.ReplaceAll(form, "PW", password)
					for _, out := range []string{
						printed(t, []string{"-database-url=" + given}, nil),
						printed(t, nil, []string{"DATABASE_URL=" + given}),
						printed(t, strings.Split("-database-url="+given, " "), nil), // without the shell's quotes
					} {
						for _, piece := range pieces {
							require.NotContains(t, out, piece, "%q", given)
						}
					}
				}
			}
		}
	}
}

// The same for any password of at least four characters that the fuzzer finds. It has no space and no =, because
// "password=x y=z" has another setting after the password.
func FuzzPasswords(f *testing.F) {
	for _, password := range []string{"s3cr/et12", "1234/s3cr", "a@b@c@d@", "%zz%00", "'; -- ", "p&sslmode=q", "x y=zzzz"} {
		f.Add(password)
	}
	unusable := strings.NewReplacer("\x00", "", "=", "", " ", "")
	f.Fuzz(func(t *testing.T, found string) {
		password := unusable.Replace(found)
		for _, form := range passwordForms() {
			given := strings.ReplaceAll(form, "PW", password)
			nothing := printed(t, nil, []string{"DATABASE_URL=" + strings.ReplaceAll(form, "PW", "")}) + printed(t, nil, nil) +
				printed(t, nil, []string{"DATABASE_URL=postgres://a@b@c"}) + printed(t, nil, []string{"DATABASE_URL=x y"}) +
				printed(t, nil, []string{"DATABASE_URL=postgres://a:%zz@b"}) +
				printed(t, nil, []string{"DATABASE_URL=postgres://b?sslmode=c"})
			out := printed(t, nil, []string{"DATABASE_URL=" + given})
			for i := 0; i+4 <= len(password); i++ {
				if piece := password[i : i+4]; !strings.Contains(nothing, piece) {
					assert.NotContains(t, out, piece, "%q", given)
				}
			}
		}
	})
}
