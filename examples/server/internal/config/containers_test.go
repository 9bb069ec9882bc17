package config

import (
	"flag"
	"os"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Each setting can be used in containers: docker-compose.yml passes its variable to the server, .env.example explains
// it.
func TestContainersHaveAllSettings(t *testing.T) {
	t.Parallel()
	compose, err := os.ReadFile("../../../../docker-compose.yml")
	require.NoError(t, err)
	example, err := os.ReadFile("../../../../.env.example")
	require.NoError(t, err)
	cfg := Defaults()
	cfg.flags().VisitAll(func(f *flag.Flag) {
		name := variable(f)
		switch name {
		case "ADDR", "DATABASE_URL": // they go with the containers' network
			return
		case "INSTANCE": // the default is unique, and the variable would be the same for several servers
			return
		}
		assert.Contains(t, string(compose), "\n      "+name+": ${"+name+":-}\n",
			"docker-compose.yml is to hand %s to the server", name)
		assert.Contains(t, string(example), "\n#"+name+"="+f.DefValue+"\n",
			".env.example is to explain %s and to have its default, commented out", name)
	})
}
