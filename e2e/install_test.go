package e2e

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// make test waits for another apt, whichever lock that holds. The test runs the
// machine's apt in temporary directories, with nothing to install.
func TestInstallWaitsForAnotherApt(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("apt-get"); err != nil || os.Geteuid() != 0 {
		t.Skip("needs apt-get, and root")
	}
	status, err := os.ReadFile("/var/lib/dpkg/status")
	if err != nil {
		t.Skip(err)
	}
	dir := t.TempDir()
	in := func(name string) string { return filepath.Join(dir, name) }
	for _, sub := range []string{"state/lists/partial", "cache/archives/partial", "dpkg", "etc"} {
		if err := os.MkdirAll(in(sub), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for name, text := range map[string]string{
		"dpkg/status": string(status),
		"apt.conf": fmt.Sprintf("Dir::State %q;\nDir::State::status %q;\nDir::Cache %q;\nDir::Etc::sourcelist \"/dev/null\";\nDir::Etc::sourceparts \"/dev/null\";\nAPT::Sandbox::User \"root\";\n",
			in("state"), in("dpkg/status"), in("cache")),
	} {
		if err := os.WriteFile(in(name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	install := func(patience string) (*exec.Cmd, *bufio.Reader) {
		cmd := exec.Command("../tools/install-missing", "no-such-program=coreutils")
		cmd.Env = append(os.Environ(), "APT_CONFIG="+in("apt.conf"), "APT_PATIENCE="+patience)
		stderr, err := cmd.StderrPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		return cmd, bufio.NewReader(stderr)
	}
	for _, lock := range []string{"state/lists/lock", "dpkg/lock-frontend", "dpkg/lock"} {
		t.Run(filepath.Base(lock), func(t *testing.T) {
			held, err := os.OpenFile(in(lock), os.O_RDWR|os.O_CREATE, 0o640)
			if err != nil {
				t.Fatal(err)
			}
			defer held.Close()
			if err := syscall.FcntlFlock(held.Fd(), syscall.F_SETLK, &syscall.Flock_t{Type: syscall.F_WRLCK}); err != nil {
				t.Fatal(err)
			}
			cmd, stderr := install("60")
			if line, _ := stderr.ReadString('\n'); !strings.HasPrefix(line, "waiting for another apt: ") || !strings.Contains(line, "lock") {
				t.Errorf("it says %q", line)
			}
			held.Close() // and so unlocked
			if _, err := io.Copy(io.Discard, stderr); err != nil {
				t.Error(err)
			}
			if err := cmd.Wait(); err != nil {
				t.Errorf("when it had the lock: %v", err)
			}
		})
	}
	held, err := os.OpenFile(in("dpkg/lock-frontend"), os.O_RDWR|os.O_CREATE, 0o640)
	if err != nil {
		t.Fatal(err)
	}
	defer held.Close()
	if err := syscall.FcntlFlock(held.Fd(), syscall.F_SETLK, &syscall.Flock_t{Type: syscall.F_WRLCK}); err != nil {
		t.Fatal(err)
	}
	cmd, stderr := install("0")
	var said strings.Builder
	if _, err := stderr.WriteTo(&said); err != nil {
		t.Error(err)
	}
	if err := cmd.Wait(); err == nil || !strings.Contains(said.String(), "gave up waiting for another apt") {
		t.Errorf("without patience: %v, %s", err, said.String())
	}
}
