package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// An outputFile is a file to write the results to.
type outputFile struct {
	name   string
	stdout io.Writer   // not nil: write to it instead
	file   *os.File    // an open pipe, terminal or other device; nil for a regular file
	path   string      // of a regular file, without symbolic links
	mode   fs.FileMode // of a regular file
}

// openOutputFile checks that the file can be written. It does not change an existing file and leaves no new one. For a
// named pipe it waits until a process reads it or ctx is done.
func openOutputFile(ctx context.Context, name string) (*outputFile, error) {
	file, err := openExisting(ctx, name)
	isNew := errors.Is(err, fs.ErrNotExist)
	if isNew {
		file, err = os.OpenFile(name, os.O_CREATE|os.O_WRONLY, newMode) //nolint:gosec // likewise
	}
	if err != nil {
		return nil, err
	}
	info, err := file.Stat()
	if err == nil && !info.Mode().IsRegular() {
		return &outputFile{name: name, file: file}, nil
	}
	if err = errors.Join(err, file.Close()); err != nil {
		return nil, err
	}
	path, err := filepath.EvalSymlinks(name) // a link stays one
	if err == nil && isNew {
		err = os.Remove(path)
	}
	if err != nil {
		return nil, err
	}
	return &outputFile{name: name, path: path, mode: info.Mode().Perm()}, nil
}

// openExisting opens an existing file for writing.
func openExisting(ctx context.Context, name string) (*os.File, error) {
	open := func() (*os.File, error) { return os.OpenFile(name, os.O_WRONLY, 0) } //nolint:gosec // named by the user
	if info, err := os.Stat(name); err != nil || info.Mode()&fs.ModeNamedPipe == 0 {
		return open()
	}
	return await(ctx, open, fmt.Errorf("interrupted: no process has opened the pipe %s for reading", name))
}

// newMode is the mode of a new file, less the umask: a report is not secret.
const newMode = 0o644

// replace replaces the content of f, unless f is nil.
func (f *outputFile) replace(write func(io.Writer) error) error {
	if f == nil {
		return nil
	}
	var content bytes.Buffer
	err := write(&content)
	if err == nil {
		err = f.write(content.Bytes())
	}
	if path, ok := errors.AsType[*fs.PathError](err); ok {
		err = path.Err // the path may be that of a temporary file
	}
	if err != nil {
		return fmt.Errorf("cannot write %s: %w", f.name, err)
	}
	return nil
}

// write writes the content. A regular file is replaced by a temporary one, so that a failure leaves the old content.
// That is not possible in a directory that is not writable, or for a file that is a mount point.
func (f *outputFile) write(content []byte) error {
	switch {
	case f.stdout != nil:
		_, err := f.stdout.Write(content)
		return err
	case f.file != nil:
		return writeAndClose(f.file, content)
	}
	temporary, err := os.CreateTemp(filepath.Dir(f.path), ".loadtest-*.tmp")
	switch {
	case errors.Is(err, fs.ErrPermission), errors.Is(err, syscall.EROFS):
		return os.WriteFile(f.path, content, newMode)
	case err != nil:
		return err
	}
	defer os.Remove(temporary.Name()) //nolint:errcheck // it no longer exists if all went well
	if err := errors.Join(os.Chmod(temporary.Name(), f.mode), writeAndClose(temporary, content)); err != nil {
		return err
	}
	err = os.Rename(temporary.Name(), f.path)
	if errors.Is(err, syscall.EBUSY) {
		return os.WriteFile(f.path, content, newMode)
	}
	return err
}

func writeAndClose(file *os.File, content []byte) error {
	_, err := file.Write(content)
	return errors.Join(err, file.Close())
}

func (f *outputFile) close() {
	if f != nil && f.file != nil {
		_ = f.file.Close() // write has closed a file that was written, and checked the error
	}
}
