package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/execlog/execlogd/internal/config"
)

// Do sends a request to the daemon at a path, as dial has it. The target is the path of
// a URL, and its query.
func Do(ctx context.Context, path, method, target string, body io.Reader) (*http.Response, error) {
	conn, err := dial(ctx, path)
	if err != nil {
		return nil, err
	}
	res, err := send(ctx, conn, method, target, body)
	if err != nil {
		return nil, fmt.Errorf("control socket: the daemon has gone, or is of another version: %w", err)
	}
	if res.StatusCode == http.StatusNotFound {
		res.Body.Close()
		return nil, errors.New("the daemon has no configuration file, and runs nothing: start it with -config")
	}
	return res, nil
}

// send sends a request over a connection, which is for this request alone.
func send(ctx context.Context, conn net.Conn, method, target string, body io.Reader) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, "http://execlogd"+target, body)
	if err != nil {
		conn.Close()
		return nil, err
	}
	client := http.Client{Transport: &http.Transport{
		DialContext:       func(context.Context, string, string) (net.Conn, error) { return conn, nil },
		DisableKeepAlives: true,
	}}
	res, err := client.Do(req)
	if err != nil {
		conn.Close() // which may not have been used
	}
	return res, err
}

// dial connects to the daemon that has its control socket at a path, or with an empty
// path to that of this service, or to the only daemon that has one where it is by default.
// Of several it is the one that is at work nearest to the current directory.
func dial(ctx context.Context, path string) (net.Conn, error) {
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

	switch {
	case len(conns) > 1:
		places := make([][]string, len(conns))
		for i, conn := range conns {
			places[i] = placeOf(ctx, conn)
		}
		here, err := os.Getwd()
		if err != nil {
			return nil, err
		}
		if i := nearest(config.Resolve(here), places); i >= 0 {
			return net.Dial("unix", live[i])
		}
		return nil, severalError(live, places)
	case forbidden != nil:
		return nil, forbidden
	}
	return nil, errors.New("no daemon with a configuration file runs here: start one, or name its socket with -control")
}

// placeTime is how long a daemon may take to say where it is at work.
const placeTime = 2 * time.Second

// placeOf asks a daemon for the directories that it is at work in, and closes the
// connection. It has none if it does not answer, or is of a version that does not know.
func placeOf(ctx context.Context, conn net.Conn) []string {
	ctx, stop := context.WithTimeout(ctx, placeTime)
	defer stop()
	res, err := send(ctx, conn, http.MethodGet, "/place", nil)
	if err != nil {
		return nil
	}
	defer res.Body.Close()
	var place Place
	if res.StatusCode != http.StatusOK || json.NewDecoder(res.Body).Decode(&place) != nil {
		return nil
	}
	return place.Directories
}

// nearest returns which of the daemons that are at work in places is meant in a directory:
// the one of the innermost directory around it. It is negative where there is none, or two.
func nearest(here string, places [][]string) int {
	found, depth := -1, 0
	for i, dirs := range places {
		innermost := 0
		for _, dir := range dirs {
			dir = config.Resolve(dir)
			if _, ok := config.Below(dir, here); ok {
				innermost = max(innermost, len(dir))
			}
		}
		switch {
		case innermost > depth:
			found, depth = i, innermost
		case innermost == depth:
			found = -1
		}
	}
	return found
}

// severalError says how to choose one of several daemons. Each is told by a directory that
// no other is at work in, if it has one: the files of services lie in one directory.
func severalError(sockets []string, places [][]string) error {
	users := make(map[string]int)
	for _, dirs := range places {
		for _, dir := range slices.Compact(slices.Sorted(slices.Values(dirs))) {
			users[dir]++
		}
	}

	var all []string
	for i, socket := range sockets {
		one := "-control " + config.ShellWord(socket)
		if dirs := places[i]; len(dirs) > 0 {
			own := max(slices.IndexFunc(dirs, func(dir string) bool { return users[dir] == 1 }), 0)
			one = "that of " + dirs[own] + " is " + one
		}
		all = append(all, one)
	}
	return fmt.Errorf("there are several daemons: change to the directory of one, or choose it with -control: %s", strings.Join(all, "; "))
}
