package pgtest

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// Unprivileged prepares a command of a program that refuses to run as root, such as PgBouncer. The command runs in a
// new folder that holds the files (content by name) and is removed at the end of the test. If this process runs as
// root, the command runs under another account, which owns the folder and the files.
func Unprivileged(t testing.TB, command *exec.Cmd, files map[string]string) {
	t.Helper()
	directory, err := unprivilegedDir(command)
	if err != nil {
		t.Fatalf("pgtest: %v", err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(directory); err != nil {
			t.Errorf("pgtest: removing a folder: %v", err)
		}
	})
	for name, content := range files {
		path := filepath.Join(directory, name)
		err := os.WriteFile(path, []byte(content), 0o600)
		if err == nil {
			err = chown(command, path)
		}
		if err != nil {
			t.Fatalf("pgtest: writing %s: %v", name, err)
		}
	}
	command.Dir = directory
}
