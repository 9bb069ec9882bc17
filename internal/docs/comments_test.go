package docs

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/doc/comment"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"os"
	"os/exec"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const module = "github.com/pointsapp/pointsapp"

// given are the variables that the Go in doc comments may use without declaring them. The comments of packages that users
// cannot import may use any variable.
const given = `(ctx context.Context, err error, url string, pool *pgxpool.Pool, store points.Store, engine *points.Engine,
	users []points.User)`

// The Go in doc comments compiles in a module that imports this one.
func TestGoInCommentsCompiles(t *testing.T) {
	packages := listPackages(t)
	tested := 0
	for name, source := range files(t, ".go") {
		for _, block := range codeBlocks(t, name, source) {
			if !isGo(block) {
				continue
			}
			tested++
			err := packages.compile(path.Dir(name), block)
			assert.NoError(t, err, "%s: the Go in a doc comment does not compile:\n\n%s", name, block)
		}
	}
	assert.Positive(t, tested)
}

func TestIsGo(t *testing.T) {
	for block, want := range map[string]bool{
		"engine, err := points.New(store, cfg)\n":             true,
		"go engine.Run(ctx)\n":                                true,
		"func TestX(t *testing.T) { f(t) }\n":                 true,
		"x := f(\n":                                           true, // but it does not compile
		"... record.Options{} ...\ns := recorder.Summary()\n": true,
		"go run ./loadtest\n":                                 false,
		"go test ./internal/docs -commands\n":                 false,
		"server # in memory\n":                                false,
		"(hash(id, key) & 9223372036854775807) % 101\n":       false,
		"GET /updates\n{\"updates\":[]}\n":                    false,
		"UPDATE users SET points = 1;\n":                      false,
	} {
		assert.Equal(t, want, isGo(block), block)
	}
}

func TestCompileFindsErrors(t *testing.T) {
	packages := listPackages(t)
	for block, want := range map[string]string{
		"engine, err := points.New(store, points.Config{})":               "",
		"engine, err := points.New(store, points.Config{NoSuchField: 1})": "unknown field NoSuchField",
		"func f(t testing.TB) { storetest.Run(t, nil) }":                  "cannot use t",
		"x := f(":              "expected",
		"url := pgtest.URL(t)": "internal",
		"engine, err := nosuchpackage.New(store)":                              "undefined: nosuchpackage",
		"func f() int { return 1 }\n\nfunc g() (string, error) { return f() }": "not enough return values",
	} {
		err := packages.compile("points", block)
		if want == "" {
			assert.NoError(t, err, block)
		} else {
			assert.ErrorContains(t, err, want, block)
		}
	}
}

// codeBlocks returns the code blocks of a file's doc comments.
func codeBlocks(t *testing.T, name, source string) (blocks []string) {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), name, source, parser.ParseComments|parser.SkipObjectResolution)
	require.NoError(t, err)
	ast.Inspect(file, func(node ast.Node) bool {
		var group *ast.CommentGroup
		switch node := node.(type) {
		case *ast.File:
			group = node.Doc
		case *ast.FuncDecl:
			group = node.Doc
		case *ast.GenDecl:
			group = node.Doc
		case *ast.TypeSpec:
			group = node.Doc
		case *ast.ValueSpec:
			group = node.Doc
		case *ast.Field:
			group = node.Doc
		}
		for _, part := range new(comment.Parser).Parse(group.Text()).Content {
			if code, ok := part.(*comment.Code); ok {
				blocks = append(blocks, code.Text)
			}
		}
		return true
	})
	return blocks
}

var goSyntax = regexp.MustCompile(`(?m):=|^func |^(var|type) \w+ |^(go |defer |<-)?\w+\.\w+\(`)

// isGo reports whether a code block is meant as Go.
func isGo(block string) bool { return goSyntax.MatchString(block) }

// goPackages are the packages that the Go in doc comments can import.
type goPackages struct {
	paths   map[string]string // import path by package name
	exports map[string]string // file of export data by import path
}

func listPackages(t *testing.T) goPackages {
	t.Helper()
	list := exec.CommandContext(t.Context(), "go", "list", "-export", "-deps", "-json=ImportPath,Name,Export", "./...",
		"go.uber.org/goleak")
	list.Dir = root
	output, err := list.Output()
	require.NoError(t, err)
	packages := goPackages{map[string]string{}, map[string]string{}}
	for decoder := json.NewDecoder(bytes.NewReader(output)); ; {
		var p struct{ ImportPath, Name, Export string }
		err := decoder.Decode(&p) //nolint:musttag // the fields have the command's names
		if errors.Is(err, io.EOF) {
			return packages
		}
		require.NoError(t, err)
		packages.exports[p.ImportPath] = p.Export
		if strings.Contains(p.ImportPath, "internal/") && !strings.HasPrefix(p.ImportPath, module) {
			continue
		}
		known, ok := packages.paths[p.Name]
		if !ok || rank(p.ImportPath) < rank(known) {
			packages.paths[p.Name] = p.ImportPath
		}
	}
}

// rank orders packages of the same name: this module's first, then the standard library's, the shortest path first.
func rank(importPath string) int {
	first, _, _ := strings.Cut(importPath, "/")
	switch {
	case strings.HasPrefix(importPath, module+"/"):
		return len(importPath)
	case !strings.Contains(first, "."):
		return 1000 + len(importPath)
	default:
		return 2000 + len(importPath)
	}
}

// compile type-checks a block of a package's doc comment, which is declarations or statements. Unused variables are
// allowed, and so are functions whose body is elided.
func (p goPackages) compile(folder, block string) error {
	file := "package example\n\n" + block
	if _, err := parser.ParseFile(token.NewFileSet(), "", file, parser.SkipObjectResolution); err != nil {
		file = fmt.Sprintf("package example\n\nfunc _%s {\n{\n%s\n}\n}\n", given, block)
	}
	imports, err := p.imports(folder, file)
	if err != nil {
		return err
	}
	fileSet := token.NewFileSet()
	parsed, err := parser.ParseFile(fileSet, "", strings.Replace(file, "\n", "\n"+imports, 1), parser.SkipObjectResolution)
	if err != nil {
		return err
	}
	undeclared := regexp.MustCompile(`^undefined: \w+$`)
	var errs error
	config := types.Config{
		Importer: importer.ForCompiler(fileSet, "gc", func(path string) (io.ReadCloser, error) {
			return os.Open(p.exports[path])
		}),
		Error: func(err error) {
			var problem types.Error
			allowed := errors.As(err, &problem) && (problem.Soft || problem.Msg == "missing return" ||
				!isPublic(folder) && undeclared.MatchString(problem.Msg))
			if !allowed {
				errs = errors.Join(errs, err)
			}
		},
	}
	_, _ = config.Check("example", fileSet, []*ast.File{parsed}, nil) // Error has all errors
	return errs
}

// imports returns the import declarations for a file that has none.
func (p goPackages) imports(folder, file string) (imports string, err error) {
	parsed, err := parser.ParseFile(token.NewFileSet(), "", file, parser.SkipObjectResolution)
	if err != nil {
		return "", err
	}
	var paths []string
	ast.Inspect(parsed, func(node ast.Node) bool {
		if selector, ok := node.(*ast.SelectorExpr); ok {
			if name, ok := selector.X.(*ast.Ident); ok && p.paths[name.Name] != "" {
				paths = append(paths, p.paths[name.Name])
			}
		}
		return true
	})
	slices.Sort(paths)
	var declarations strings.Builder
	for _, path := range slices.Compact(paths) {
		if isPublic(folder) && strings.Contains(path, "/internal/") {
			return "", fmt.Errorf("users cannot import %s, which is internal", path)
		}
		fmt.Fprintf(&declarations, "import %q\n", path)
	}
	return declarations.String(), nil
}

// isPublic reports whether users can import the package in the folder.
func isPublic(folder string) bool {
	return !slices.ContainsFunc(strings.Split(folder, "/"), func(element string) bool {
		return slices.Contains([]string{"internal", "examples", "loadtest", "bench"}, element)
	})
}
