package flags

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestOneFileTwice checks names, links and relative paths of the same file.
func TestOneFileTwice(t *testing.T) {
	t.Chdir(t.TempDir())
	require.NoError(t, os.Mkdir("d", 0o700))
	require.NoError(t, os.Symlink("d", "d2"))
	require.NoError(t, os.WriteFile("old", nil, 0o600))
	require.NoError(t, os.Symlink("old", "link"))
	require.NoError(t, os.Link("old", "hard"))
	require.NoError(t, os.Symlink(filepath.Join("d", "new"), "dangling"))
	require.NoError(t, os.Symlink("dangling", "chain"))
	require.NoError(t, os.Symlink(filepath.Join("..", "chain"), filepath.Join("d", "up")))
	require.NoError(t, os.Symlink("cycle", "cycle"))
	absolute, err := filepath.Abs("new")
	require.NoError(t, err)
	for _, tt := range []struct {
		args []string
		want string // "" means that the files differ
	}{
		{[]string{"-json", "new", "-html", "new"}, "-json and -html need different files, got new and new"},
		{[]string{"-html", "./new", "-json", "new"}, "-json and -html need different files, got new and ./new"},
		{[]string{"-e", "new", "-g", absolute}, "-e and -g need different files, got new and " + absolute},
		{[]string{"-e", "old", "-html", "d/../old"}, "-e and -html need different files, got old and d/../old"},
		{[]string{"-g", "old", "-json", "link"}, "-g and -json need different files, got old and link"},
		{[]string{"-g", "old", "-json", "hard"}, "-g and -json need different files, got old and hard"},
		{[]string{"-g", "d/new", "-json", "d2/new"}, "-g and -json need different files, got d/new and d2/new"},
		{[]string{"-g", "dangling", "-json", "d2/new"}, "-g and -json need different files, got dangling and d2/new"},
		{[]string{"-json", "chain", "-html", "dangling"}, "-json and -html need different files, got chain and dangling"},
		{[]string{"-json", "d2/up", "-html", "d/new"}, "-json and -html need different files, got d2/up and d/new"},
		{[]string{"-json", "chain", "-html", "cycle"}, ""},
		{[]string{"-json", "-", "-html", "-"}, "-json and -html cannot both be - (stdout)"},
		{[]string{"-json", "-", "-html", "./-"}, ""},
		{[]string{"-json", "new", "-html", "d/new"}, ""},
		{[]string{"-json", "new", "-html", "old"}, ""},
		{[]string{"-json", os.DevNull, "-html", os.DevNull, "-g", os.DevNull, "-e", os.DevNull}, ""},
		{[]string{"-compare", "old", "-json", "old"}, ""},
	} {
		_, err := Parse(append(tt.args, "x"))
		if tt.want == "" {
			assert.NoError(t, err, tt.args)
		} else {
			assert.EqualError(t, err, tt.want, tt.args)
		}
	}
	_, err = ParseMerge([]string{"-json", "m", "-html", "./m", "a.json"})
	require.EqualError(t, err, "-json and -html need different files, got m and ./m")
}
