package pgstore_test

import (
	"testing"

	"go.uber.org/goleak"

	"github.com/pointsapp/pointsapp/internal/pgtest"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(pgtest.Main(m),
		// Toxiproxy's limit_data leaves the other way's goroutine behind.
		goleak.IgnoreAnyFunction("github.com/Shopify/toxiproxy/v2/toxics.(*ToxicStub).Run"),
	)
}
