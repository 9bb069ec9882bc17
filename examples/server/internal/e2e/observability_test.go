package e2e_test

import (
	"encoding/json"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"

	"github.com/pointsapp/pointsapp/internal/pgtest"
)

// The server exports every metric that the Grafana dashboard and the alerts query. (.ci/run checks the alerts' syntax
// with promtool.)
func TestObservability(t *testing.T) {
	t.Parallel()
	cfg := configFor(pgtest.URL(t))
	cfg.Shared = true
	r := startReady(t, cfg)
	untilUpdated(t, r)
	require.NoError(t, func() error { _, err := parseResult(r.get(t, "/")); return err }())
	metrics := string(r.get(t, "/metrics").body)

	var expressions []string
	var dashboard struct {
		Panels []struct {
			Targets []struct {
				Expr string `json:"expr"`
			} `json:"targets"`
		} `json:"panels"`
	}
	text, err := os.ReadFile("../../observability/grafana/dashboard.json")
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(text, &dashboard))
	for _, panel := range dashboard.Panels {
		for _, target := range panel.Targets {
			expressions = append(expressions, target.Expr)
		}
	}
	var alerts struct {
		Groups []struct {
			Rules []struct {
				Expr string `yaml:"expr"`
			} `yaml:"rules"`
		} `yaml:"groups"`
	}
	text, err = os.ReadFile("../../observability/alerts.yml")
	require.NoError(t, err)
	require.NoError(t, yaml.Unmarshal(text, &alerts))
	for _, rule := range alerts.Groups[0].Rules {
		expressions = append(expressions, rule.Expr)
	}
	require.Greater(t, len(expressions), 25)

	names := regexp.MustCompile(`\b(?:http|points|pgxpool|process|go)_[a-z_]+`)
	for _, expression := range expressions {
		for _, name := range names.FindAllString(regexp.MustCompile(`\{[^}]*\}|by \([^)]*\)`).ReplaceAllString(expression, ""), -1) {
			name = strings.TrimSuffix(name, "_total")
			assert.True(t, regexp.MustCompile(`(?m)^`+name+`(_total)?[{ ]`).MatchString(metrics),
				"%s, which %s asks for, is not in /metrics", name, expression)
		}
	}
}
