package daemon

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/execlog/execlogd/inotify"
	"github.com/execlog/execlogd/internal/ansi"
	"github.com/execlog/execlogd/internal/config"
	"github.com/execlog/execlogd/internal/logging"
	"github.com/execlog/execlogd/internal/tty"
)

// keyHelp lists the keys of the daemon.
const keyHelp = `
  o  open the site in a browser
  r  reload all pages
  b  build again: run the routes that run at the start, or that pages wait for
  l  show the output of the last run
  a  show the addresses, with a QR code for a phone
  q  quit
  ?  this list
`

// drawInterval is the least time between two changes of the line of state, beside those
// for lines of the log.
const drawInterval = 100 * time.Millisecond

// maxShownOutput is how much of the end of its output the key l shows of a run, in bytes.
const maxShownOutput = 64 << 10

// A userTerminal is the terminal at which a user has started the daemon, and that has its
// log: with a line of state below the log, and keys. There is none in a pipe or under
// systemd. The methods do nothing on a nil userTerminal.
type userTerminal struct {
	d       *daemon
	tty     *tty.Terminal
	line    *logging.LiveLine
	noColor bool
	begun   time.Time

	actions sync.WaitGroup // that keys have started
	ctx     context.Context
}

// openTerminal opens the terminal of the daemon. It returns nil unless the log and
// standard input are the terminal that controls the process, and the log is for people.
func (d *daemon) openTerminal(cfg *config.Config, stdin *os.File) *userTerminal {
	file, isFile := d.stderr.(*os.File)
	term := os.Getenv("TERM")
	switch {
	case stdin == nil || !isFile || !logging.IsTerminal(stdin) || !tty.SameFile(stdin, file):
		return nil
	case cfg.LogFormat != string(logging.Auto) || os.Getenv("NOTIFY_SOCKET") != "" || term == "" || term == "dumb":
		return nil
	}

	t := &userTerminal{d: d, noColor: logOptions(cfg).NoColor, begun: time.Now(), ctx: context.Background()}
	var err error
	if t.tty, err = tty.Open(stdin, t.press); err != nil {
		return nil // it controls other processes
	}
	t.line = logging.NewLiveLine(file, d.queue)
	t.tty.Lending = func() { t.tty.KeysOff(); t.line.Hide() }
	t.tty.Returned = func() { t.tty.KeysOn(); t.line.Show() }
	t.tty.Resized = t.line.Draw
	if !t.tty.InForeground() {
		t.line.Hide() // until a shell continues us there
	}
	return t
}

// run shows the line of state and does what keys are for, until ctx ends.
func (t *userTerminal) run(ctx context.Context) error {
	t.ctx = ctx
	defer t.close()
	t.tty.Begin()
	if t.tty.InForeground() {
		t.tty.KeysOn()
	}

	d := t.d
	for ctx.Err() == nil {
		pages := d.pagesChanged() // before the text is composed, so that no change is missed
		text, busy := t.text(time.Now())
		t.line.Set(text)

		var tick time.Duration
		if busy {
			tick = time.Second
		}
		select {
		case <-time.After(drawInterval):
		case <-ctx.Done():
		}
		waitForAny(ctx, tick, append(pages, d.last.noted, d.activity.changed)...)
	}
	return nil
}

// close removes the line of state, and restores the terminal.
func (t *userTerminal) close() {
	if t == nil {
		return
	}
	t.tty.Close()
	t.actions.Wait()
	t.line.Hide()
}

// text is the line of state. It is busy while it is another each second.
func (t *userTerminal) text(now time.Time) (text string, busy bool) {
	cfg := t.d.active.Load()
	if cfg.LogFormat != string(logging.Auto) {
		return "", false // of a configuration that was loaded meanwhile
	}

	var parts []string
	if cfg.anyReloads() {
		parts = append(parts, logging.Count(t.d.openPages(), "page", "pages")+" open")
	}
	working, busy := t.d.activity.texts(now, t.noColor)
	parts = append(parts, working...)
	if change := t.d.last.lastChange(); change != "" && len(working) == 0 {
		parts = append(parts, "last change "+change)
	}
	parts = append(parts, logging.Faint("? lists keys", t.noColor))
	return " " + strings.Join(parts, logging.Faint(" · ", t.noColor)), busy
}

// showScan shows how far a scan at the start is, if it takes a while.
func (t *userTerminal) showScan(directories int) {
	if t != nil && time.Since(t.begun) >= time.Second {
		t.line.Set(" looking for files: " + logging.Count(directories, "directory", "directories") + " so far")
	}
}

// say writes lines in order with the log.
func (t *userTerminal) say(lines string) {
	_, _ = io.WriteString(t.d.queue.Writer(t.d.out), lines)
}

// press does what a key is for.
func (t *userTerminal) press(key byte) {
	d := t.d
	switch key {
	case 'o':
		t.actions.Go(func() {
			if err := d.openBrowser(t.ctx); err != nil {
				t.say("execlogd: browser not opened: " + err.Error() + "\n")
			}
		})
	case 'r':
		d.refreshAll()
		t.say("execlogd: reloading " + logging.Count(d.openPages(), "page", "pages") + "\n")
	case 'b':
		t.build()
	case 'l':
		t.showOutput()
	case 'a':
		t.say("\n" + d.addressLines() + t.code() + "\n")
	case 'q', 'Q':
		d.end(errors.New("the key q"))
	case '?', 'h':
		t.say(keyHelp + "\n")
	case '\r', '\n':
		t.say("\n") // to set apart what follows
	}
}

// build triggers the routes that are for the site as a whole.
func (t *userTerminal) build() {
	d := t.d
	cfg := d.active.Load()
	var built []string
	for _, r := range cfg.resolved {
		waited := cfg.anyWaits(r.Name)
		if !r.HasCommand() || !r.Start && (!waited || r.PerFile()) {
			continue
		}
		// The route is there, or was removed this moment.
		if _, err := d.pipeline.router.Trigger(r.Name, inotify.Event{Root: r.Root, Path: "."}); err == nil {
			built = append(built, r.Name)
		}
	}
	if built == nil {
		t.say("execlogd: no route runs at the start or before a reload; execlogd trigger runs any other\n")
		return
	}
	t.say("execlogd: running " + strings.Join(built, ", ") + "\n")
}

// showOutput writes the output of the last run of this machine that has some.
func (t *userTerminal) showOutput() {
	if t.d.runner != nil {
		for _, r := range t.d.runner.Log().Recent(math.MaxInt, maxShownOutput) {
			if len(r.Output) == 0 || r.Machine != "" {
				continue
			}
			var b strings.Builder
			fmt.Fprintf(&b, "\n%s %s\n", r.Start.Format(time.TimeOnly), logging.Printable(r.Route+": "+r.CommandLine()))
			for line := range strings.Lines(ansi.Strip(string(r.Output))) {
				b.WriteString("  " + logging.Printable(strings.TrimSuffix(line, "\n")) + "\n")
			}
			t.say(b.String() + "\n")
			return
		}
	}
	t.say("execlogd: nothing that ran has written anything\n")
}

// code is a QR code for an address that other devices reach, or says why there is none.
func (t *userTerminal) code() string {
	var urls []string
	for _, ln := range t.d.web.sockets() {
		urls = append(urls, networkURLs(ln)...)
	}
	if urls == nil {
		return "  Other devices reach no address of these: -host 0.0.0.0 is for them too.\n"
	}

	code := qrCode(urls[0])
	if code.width() > t.line.Width() {
		return "  The terminal is too narrow for a QR code.\n"
	}
	return "\n" + code.String()
}

// banner says, when the daemon is ready, what it does and at which addresses.
func (t *userTerminal) banner() {
	t.d.tokenShown = t.d.tokenURL() != ""
	t.say("execlogd: " + t.d.statusOf(func([]net.Listener) string { return "" }) + "\n" + t.d.addressLines())
}
