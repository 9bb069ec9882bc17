package e2e_test

import (
	"flag"
	"fmt"
	"os"
	"testing"

	"go.uber.org/goleak"

	"github.com/pointsapp/pointsapp/internal/pgtest"
)

func TestMain(m *testing.M) {
	// Most of these tests wait for a database or for a timeout: more of them than there are processors can run at once.
	if err := flag.Set("test.parallel", "6"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	goleak.VerifyTestMain(pgtest.Main(m),
		// Toxiproxy's limit_data leaves the other way's goroutine behind.
		goleak.IgnoreAnyFunction("github.com/Shopify/toxiproxy/v2/toxics.(*ToxicStub).Run"),
	)
}
