package flags

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func FuzzParse(f *testing.F) {
	for _, s := range []string{"-n 10 -c 2 http://x/", "-rate 5:6 -duration 3s x:80", "-H a:b -t 5 -s 1s -k=false localhost", "-find-max -slo p99<1s x"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, line string) {
		cfg, err := Parse(strings.Fields(line))
		if err != nil {
			require.NotEmpty(t, err.Error())
			return
		}
		require.GreaterOrEqual(t, cfg.Clients, 1)
		if !cfg.Reference {
			require.NotEmpty(t, cfg.URL.Hostname())
			require.NotEmpty(t, cfg.Port())
		}
	})
}
