package app_test

import (
	"testing"

	"go.uber.org/goleak"

	"github.com/pointsapp/pointsapp/internal/pgtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(pgtest.Main(m)) }
