package tty

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/execlog/execlogd/internal/testenv"
)

// panics names, in the environment, what the test program does instead of tests.
const panics = "EXECLOGD_TEST_PANICS"

func TestMain(m *testing.M) {
	if how := os.Getenv(panics); how != "" {
		readKeysAndPanic(how)
	}
	os.Exit(m.Run())
}

// readKeysAndPanic panics in the way asked for while keys are on.
func readKeysAndPanic(how string) {
	t, err := Open(os.Stdin, func(key byte) { panic(fmt.Sprintf("in the key %c", key)) })
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	t.Begin()
	t.KeysOn()
	fmt.Println("keys are on")
	if how == "key" {
		select {}
	}
	returned := false
	defer RestoreOnPanic(&returned)
	panic("in a goroutine")
}

func TestModesAreRestoredAfterAPanic(t *testing.T) {
	for how, message := range map[string]string{"goroutine": "in a goroutine", "key": "in the key x"} {
		screen, program := openPty(t)
		before, err := unix.IoctlGetTermios(int(program.Fd()), unix.TCGETS)
		testenv.Check(t, err)
		cmd := exec.Command("/proc/self/exe")
		cmd.Env = append(os.Environ(), panics+"="+how)
		var stderr bytes.Buffer
		cmd.Stdin, cmd.Stdout, cmd.Stderr = program, program, &stderr
		cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
		testenv.Check(t, cmd.Start())

		testenv.Check(t, screen.SetReadDeadline(time.Now().Add(testenv.WaitLimit)))
		seen := make([]byte, 100)
		if n, err := screen.Read(seen); err != nil || !bytes.Contains(seen[:n], []byte("keys are on")) {
			t.Errorf("the screen has %q (%v)", seen[:n], err)
		}
		if how == "key" {
			_, err = screen.WriteString("\x1bOQ\x1b[1;5Bx") // F2 and an arrow are not for us
			testenv.Check(t, err)
		}

		if err := cmd.Wait(); err == nil || !bytes.Contains(stderr.Bytes(), []byte("panic: "+message)) {
			t.Errorf("%s: ended with %v, and wrote %s", how, err, stderr.Bytes())
		}
		if after, err := unix.IoctlGetTermios(int(program.Fd()), unix.TCGETS); err != nil || *after != *before {
			t.Errorf("%s: left the modes %+v (%v), want %+v", how, after, err, before)
		}
	}
}

// openPty opens both ends of a pseudo-terminal.
func openPty(t *testing.T) (screen, program *os.File) {
	t.Helper()
	fd, err := unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Skip(err)
	}
	testenv.Check(t, unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0))
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	testenv.Check(t, err)
	screen = os.NewFile(uintptr(fd), "/dev/ptmx")
	program, err = os.OpenFile(fmt.Sprint("/dev/pts/", n), os.O_RDWR|unix.O_NOCTTY, 0)
	testenv.Check(t, err)
	t.Cleanup(func() {
		screen.Close()
		program.Close()
	})
	return screen, program
}
