package daemon

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/execlog/execlogd/internal/testenv"
)

// passed makes the descriptors that systemd would pass, from names with what they are.
func passed(t *testing.T, names ...string) (files []*os.File) {
	t.Helper()
	for _, name := range names {
		name, kind, _ := strings.Cut(name, "=")
		var fd int
		var err error
		switch kind {
		case "pipe":
			r, w, err := os.Pipe()
			testenv.Check(t, err)
			w.Close()
			fd, err = unix.Dup(int(r.Fd()))
			testenv.Check(t, err)
			r.Close()
		case "datagrams":
			fd, err = unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		case "unconnected":
			fd, err = unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		case "unix":
			fd, err = unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
			testenv.Check(t, err)
			testenv.Check(t, unix.Bind(fd, &unix.SockaddrUnix{Name: filepath.Join(t.TempDir(), "s")}))
			err = unix.Listen(fd, 5)
		case "6":
			fd, err = unix.Socket(unix.AF_INET6, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
			testenv.Check(t, err)
			testenv.Check(t, unix.Bind(fd, &unix.SockaddrInet6{Addr: [16]byte{15: 1}}))
			err = unix.Listen(fd, 5)
		default:
			fd, err = unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
			testenv.Check(t, err)
			err = unix.Listen(fd, 5)
		}
		testenv.Check(t, err)
		files = append(files, os.NewFile(uintptr(fd), name))
	}
	return files
}

func TestPassedSockets(t *testing.T) {
	const known = "FileDescriptorName= is http or https, for the site, status, for the status page alone, or metrics"
	tests := []struct {
		names        string
		http, status int
		err          string
	}{
		{"", 0, 0, ""},
		{"http http=6 http=unix status=unix status", 3, 2, ""},
		{"execlogd.socket site@docs.socket unknown LISTEN_FD_3", 4, 0, ""},
		{"http execlogd.socket", 2, 0, ""},
		{"http https", 1, 0, ""},
		{"metrics=unix http", 1, 0, ""},
		{"htpp http", 0, 0, `the name "htpp" is unknown: ` + known},
		{"connection", 0, 0, "take Accept=yes out of the socket unit"},
		{"http=datagrams", 0, 0, `"http" is not a socket at which connections arrive: the socket unit needs ListenStream=`},
		{"status=pipe", 0, 0, `"status" is not a socket at which connections arrive`},
		{"http=unconnected", 0, 0, `"http" is not a socket at which connections arrive`},
	}
	for _, tt := range tests {
		files := passed(t, strings.Fields(tt.names)...)
		got, err := sortSockets(files)
		if len(got.http) != tt.http || len(got.status) != tt.status || (err == nil) != (tt.err == "") || err != nil && !strings.Contains(err.Error(), tt.err) {
			t.Errorf("%s: %d and %d sockets, %v", tt.names, len(got.http), len(got.status), err)
		}
		closeExcept(got.http, nil)
		closeExcept(got.https, nil)
		closeExcept(got.status, nil)
		closeExcept(got.metrics, nil)
		if want := strings.Count(tt.names, "metrics"); err == nil && len(got.metrics) != want {
			t.Errorf("%s: %d sockets for metrics, want %d", tt.names, len(got.metrics), want)
		}
		for _, f := range files {
			if err := f.Close(); err == nil {
				t.Errorf("%s: %s was left open", tt.names, f.Name())
			}
		}
	}
}
