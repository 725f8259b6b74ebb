package e2e

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

const (
	// maxWait bounds the wait for something that must happen. It is far more than a
	// busy machine needs, so that a time-out means a defect.
	maxWait = time.Minute

	// quietTime is how long a test waits to show that nothing happens: several times
	// the delay and debounce of the reload route.
	quietTime = 1500 * time.Millisecond

	// pollEvery is how often a condition is checked.
	pollEvery = 20 * time.Millisecond
)

// execlogd is the path of the binary under test.
var execlogd string

func TestMain(m *testing.M) {
	os.Exit(run(m))
}

func run(m *testing.M) int {
	if addr := os.Getenv(fileServerAddr); addr != "" {
		return runFileServer(addr)
	}
	if role := os.Getenv(roleVariable); role != "" {
		return runRole(role)
	}
	dir, err := os.MkdirTemp("", "execlogd-e2e-")
	if err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		return 1
	}
	defer os.RemoveAll(dir)
	// Testscript and Chromium leave temporary files behind, so they get a directory
	// that is removed.
	os.Setenv("TMPDIR", dir)
	os.Setenv("GOTMPDIR", dir)
	execlogd, err = binary(dir)
	if err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		return 1
	}
	defer endBrowsers()
	return m.Run()
}

// binary makes dir/execlogd the program that EXECLOGD names, or builds it.
func binary(dir string) (string, error) {
	path := filepath.Join(dir, "execlogd")
	// Scripts also run it as another user.
	if err := os.Chmod(dir, 0o755); err != nil {
		return "", err
	}
	if other := os.Getenv("EXECLOGD"); other != "" {
		other, err := filepath.Abs(other)
		if err != nil {
			return "", err
		}
		return path, os.Symlink(other, path)
	}
	args := []string{"build", "-C", "..", "-o", path}
	if _, err := exec.LookPath("gcc"); err == nil {
		args = append(args, "-race") // which needs cgo
	}
	out, err := exec.Command("go", append(args, "./cmd/execlogd")...).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("build execlogd: %w\n%s", err, out)
	}
	return path, nil
}

// eventually polls until ok returns true. Its error, after maxWait or the end of ctx,
// says what it was waiting for.
func eventually(ctx context.Context, what string, ok func() bool) error {
	ctx, cancel := context.WithTimeout(ctx, maxWait)
	defer cancel()
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("waiting for %s: %w", what, context.Cause(ctx))
		}
	}
	return nil
}

// write makes the files below dir, with their directories.
func write(t testing.TB, dir string, files map[string]string) {
	t.Helper()
	for name, content := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// save replaces a file in a directory.
func save(t testing.TB, dir, name, content string) {
	t.Helper()
	if err := replace(filepath.Join(dir, name), content); err != nil {
		t.Fatal(err)
	}
}

func remove(t testing.TB, dir, name string) {
	t.Helper()
	if err := os.Remove(filepath.Join(dir, name)); err != nil {
		t.Fatal(err)
	}
}

// replace saves a file by rename: it writes a hidden file beside it and renames that
// over it.
func replace(path, content string) error {
	draft := filepath.Join(filepath.Dir(path), "."+filepath.Base(path)+".new")
	if err := os.WriteFile(draft, []byte(content), 0o644); err != nil {
		return err
	}
	return os.Rename(draft, path)
}
