package apidoc

import (
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/pointsapp/pointsapp/examples/server/internal/version"
)

func TestVersion(t *testing.T) {
	t.Parallel()
	for _, want := range []string{"v1.2.3", "v0.0.0-20260102030405-0123456789ab+dirty", version.Devel} {
		doc, err := openapi3.NewLoader().LoadFromData(withVersion(YAML, want))
		require.NoError(t, err)
		assert.Equal(t, want, doc.Info.Version)
	}
}
