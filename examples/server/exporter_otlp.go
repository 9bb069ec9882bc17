//go:build otlp

package main

import (
	"github.com/pointsapp/pointsapp/examples/server/telemetry"
	"github.com/pointsapp/pointsapp/examples/server/telemetry/otlp"
)

func newExporter() telemetry.NewExporter { return otlp.New }
