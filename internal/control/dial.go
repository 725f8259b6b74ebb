package control

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"syscall"
)

// Do sends a request to the daemon at a path, as dial has it. The target is the path of
// a URL, and its query.
func Do(ctx context.Context, path, method, target string, body io.Reader) (*http.Response, error) {
	conn, err := dial(path)
	if err != nil {
		return nil, err
	}

	req, err := http.NewRequestWithContext(ctx, method, "http://execlogd"+target, body)
	if err != nil {
		conn.Close()
		return nil, err
	}
	client := http.Client{Transport: &http.Transport{
		DialContext:       func(context.Context, string, string) (net.Conn, error) { return conn, nil },
		DisableKeepAlives: true, // the connection is for this request
	}}
	res, err := client.Do(req)
	if err != nil {
		conn.Close() // which may not have been used
		return nil, fmt.Errorf("control socket: the daemon has gone, or is of another version: %w", err)
	}
	if res.StatusCode == http.StatusNotFound {
		res.Body.Close()
		return nil, errors.New("the daemon has no configuration file, and runs nothing: start it with -config")
	}
	return res, nil
}

// dial connects to the daemon that has its control socket at a path, or with an empty
// path to that of this service, or to the only daemon that has one where it is by default.
func dial(path string) (net.Conn, error) {
	if dir := RuntimeDirectory(); path == "" && dir != "" {
		path = filepath.Join(dir, serviceSocket)
	}
	if path != "" {
		at, err := filepath.Abs(path) // as the daemon has it
		if err != nil {
			return nil, err
		}
		conn, err := net.Dial("unix", at)
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED) {
			err = fmt.Errorf("no daemon listens on %s: start one with -control %[1]s, or name another", path)
		}
		return conn, err
	}

	paths, forbidden := usualPaths()
	var conns []net.Conn
	var live []string
	for _, path := range paths {
		conn, err := net.Dial("unix", path)
		switch {
		case err == nil:
			conns, live = append(conns, conn), append(live, path)
		case errors.Is(err, fs.ErrPermission):
			forbidden = fmt.Errorf("%s belongs to the service: be its user, or root", path)
		}
	}
	if len(conns) == 1 {
		return conns[0], nil
	}
	for _, conn := range conns {
		conn.Close()
	}
	switch {
	case len(live) > 1:
		return nil, fmt.Errorf("there are several daemons: choose one with -control %s", strings.Join(live, " or "))
	case forbidden != nil:
		return nil, forbidden
	}
	return nil, errors.New("no daemon with a configuration file runs here: start one, or name its socket with -control")
}
