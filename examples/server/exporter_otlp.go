//go:build otlp

package main

import (
	"github.com/pointsapp/pointsapp/examples/server/internal/telemetry"
	"github.com/pointsapp/pointsapp/examples/server/internal/telemetry/otlp"
)

func newExporter() telemetry.NewExporter { return otlp.New }
