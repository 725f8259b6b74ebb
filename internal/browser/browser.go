// Package browser opens addresses in the browser of the user.
package browser

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

// startTime is how long a program may take to fail. One that runs for longer is the browser.
const startTime = 5 * time.Second

// Open opens a URL of http or https, and no other: with the programs that $BROWSER names,
// the first that succeeds, or else with xdg-open(1). It returns when a program has ended or
// has run for a while, or when ctx ends. The program has a session of its own and no
// terminal, and may outlive this process. No shell sees the URL.
func Open(ctx context.Context, address string) error {
	u, err := url.Parse(address)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return fmt.Errorf("%q is no address for a browser", address)
	}

	browsers := os.Getenv("BROWSER")
	if browsers == "" {
		if os.Getenv("DISPLAY") == "" && os.Getenv("WAYLAND_DISPLAY") == "" {
			return errors.New("there is no display (DISPLAY, WAYLAND_DISPLAY) and no $BROWSER")
		}
		browsers = "xdg-open"
	}

	var wrong []error
	for line := range strings.SplitSeq(browsers, ":") {
		argv := commandLine(line, u.String())
		if argv == nil {
			continue
		}
		err := start(ctx, argv)
		if err == nil {
			return nil
		}
		wrong = append(wrong, err)
	}
	return errors.Join(wrong...)
}

// commandLine returns the words of an element of $BROWSER with the URL: in place of each %s,
// or as a last word. It is nil for an empty element.
func commandLine(element, url string) []string {
	argv := strings.Fields(element)
	if len(argv) == 0 {
		return nil
	}
	if !strings.Contains(element, "%s") {
		return append(argv, url)
	}
	for i := range argv {
		argv[i] = strings.ReplaceAll(argv[i], "%s", url)
	}
	return argv
}

// start starts a program, and returns how it has ended if it does so within startTime.
func start(ctx context.Context, argv []string) error {
	program, err := exec.LookPath(argv[0])
	switch {
	case err != nil && argv[0] == "xdg-open":
		return errors.New("xdg-open is in no directory of PATH: install it (xdg-utils), or name a browser in $BROWSER")
	case err != nil:
		return fmt.Errorf("%q, which $BROWSER names, is no program", argv[0])
	}

	cmd := exec.Command(program, argv[1:]...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // so that Ctrl-C does not end it
	if err := cmd.Start(); err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }() // which nobody waits for: a browser may run for days

	select {
	case err := <-ended:
		if err != nil {
			return fmt.Errorf("%s: %w", argv[0], err)
		}
	case <-time.After(startTime):
	case <-ctx.Done():
	}
	return nil
}
