// Package licences checks that the list of the dependencies' licences is up to date.
package licences

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/licensecheck"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const list = "../../docs/licences.md"

var update = flag.Bool("update", false, "write docs/licences.md")

// docs/licences.md lists the modules that each package and program compiles. All licences are permissive.
func TestList(t *testing.T) {
	var page bytes.Buffer
	page.WriteString(`# Licences of compiled modules

This project is under the MIT licence. This page lists the modules that are compiled with its packages and programs, besides
the standard library (BSD-3-Clause). Modules that only tests use are omitted. ` + "`go test ./internal/licences -update`" + ` writes it.

`)
	for _, of := range []string{"points", "memstore", "pgstore", "examples/server", "examples/server -tags otlp", "examples/mux", "examples/customstore", "loadtest"} {
		modules := modulesOf(t, "../../"+of)
		fmt.Fprintf(&page, "## %s\n\n", of)
		if len(modules) == 0 {
			page.WriteString("Nothing.\n\n")
			continue
		}
		page.WriteString("| module | licence |\n|---|---|\n")
		for _, path := range slices.Sorted(maps.Keys(modules)) {
			licence := licenceOf(t, modules[path])
			assert.Contains(t, []string{"MIT", "BSD-2-Clause", "BSD-3-Clause", "Apache-2.0", "ISC"}, licence, path)
			fmt.Fprintf(&page, "| %s | %s |\n", path, licence)
		}
		page.WriteString("\n")
	}
	text := strings.TrimRight(page.String(), "\n") + "\n"
	if *update {
		require.NoError(t, os.WriteFile(list, []byte(text), 0o644))
	}
	written, err := os.ReadFile(list)
	require.NoError(t, err)
	assert.Equal(t, string(written), text, "run go test ./internal/licences -update")
}

// modulesOf returns the folders, by path, of the modules that a package compiles; flags of go list may follow its path.
func modulesOf(t *testing.T, of string) map[string]string {
	t.Helper()
	path, flags, _ := strings.Cut(of, " ")
	args := append([]string{"list", "-deps", "-json=Module"}, strings.Fields(flags)...)
	output, err := exec.CommandContext(t.Context(), "go", append(args, path)...).Output()
	require.NoError(t, err)
	modules := make(map[string]string)
	for packages := json.NewDecoder(bytes.NewReader(output)); ; {
		var p struct {
			Module *struct {
				Path string `json:"Path"` //nolint:tagliatelle // as go list writes it
				Dir  string `json:"Dir"`  //nolint:tagliatelle // the same
				Main bool   `json:"Main"` //nolint:tagliatelle // the same
			} `json:"Module"` //nolint:tagliatelle // the same
		}
		err := packages.Decode(&p)
		if errors.Is(err, io.EOF) {
			return modules
		}
		require.NoError(t, err)
		if p.Module != nil && !p.Module.Main {
			modules[p.Module.Path] = p.Module.Dir
		}
	}
}

// licenceOf returns the SPDX identifier of the licence in a module's folder.
func licenceOf(t *testing.T, folder string) string {
	t.Helper()
	for _, pattern := range []string{"LICEN[SC]E*", "[Ll]icen[sc]e*", "COPYING*"} {
		files, err := filepath.Glob(filepath.Join(folder, pattern))
		require.NoError(t, err)
		for _, file := range files {
			text, err := os.ReadFile(file)
			require.NoError(t, err)
			if found := licensecheck.Scan(text); found.Percent > 75 {
				return found.Match[0].ID
			}
		}
	}
	return "unknown"
}
