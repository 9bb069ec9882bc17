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

// On the Grafana dashboard the data source can be chosen, each server has a series of its own, and a database that is down
// is red.
func TestGrafanaDashboard(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../observability/grafana/dashboard.json")
	require.NoError(t, err)
	for _, uid := range regexp.MustCompile(`"uid": "([^"]*)"`).FindAllStringSubmatch(string(text), -1)[1:] {
		assert.Equal(t, "${datasource}", uid[1])
	}
	type step struct {
		Color string   `json:"color"`
		Value *float64 `json:"value"`
	}
	//nolint:tagliatelle // Grafana's names
	var dashboard struct {
		Panels []struct {
			ID      int    `json:"id"`
			Title   string `json:"title"`
			Type    string `json:"type"`
			GridPos struct{ X, Y, W, H int }
			Targets []struct {
				Expr         string `json:"expr"`
				LegendFormat string `json:"legendFormat"`
			} `json:"targets"`
			FieldConfig struct {
				Defaults struct {
					Thresholds struct {
						Steps []step `json:"steps"`
					} `json:"thresholds"`
				} `json:"defaults"`
			} `json:"fieldConfig"`
		} `json:"panels"`
	}
	require.NoError(t, json.Unmarshal(text, &dashboard))   //nolint:musttag // the fields have Grafana's names
	allServers := regexp.MustCompile(`^(max|sum|count)\(`) // one series for all of them
	ids, places := make(map[int]bool), make(map[struct{ X, Y, W, H int }]bool)
	var reds []string
	for _, panel := range dashboard.Panels {
		assert.False(t, ids[panel.ID], "two panels have the id %d", panel.ID)
		assert.False(t, places[panel.GridPos], "two panels are at the place of %s", panel.Title)
		ids[panel.ID], places[panel.GridPos] = true, true
		for _, target := range panel.Targets {
			if panel.Type != "table" && !allServers.MatchString(target.Expr) {
				assert.Contains(t, target.LegendFormat, "{{instance}}", panel.Title)
			}
			for _, step := range panel.FieldConfig.Defaults.Thresholds.Steps {
				if step.Color == "red" && step.Value != nil && *step.Value == 1 {
					reds = append(reds, panel.Title)
				}
			}
		}
	}
	assert.Equal(t, []string{"Database", "Circuit breaker of updates"}, reds)
}
