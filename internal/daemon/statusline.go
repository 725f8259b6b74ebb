package daemon

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/execlog/execlogd/inotify"
	"github.com/execlog/execlogd/internal/logging"
	"github.com/execlog/execlogd/router"
)

// statusInterval is the least time between two messages to systemd about what goes on.
const statusInterval = time.Second

// How much of a path and of an error there is in the status, in bytes.
const (
	maxStatusPath  = 200
	maxStatusError = 600
)

// A lastEvents is what happened last, for the status that systemd shows. Every user of the
// machine can read that. The zero value is not ready to use; see newLastEvents.
type lastEvents struct {
	noted chan struct{} // holds one, when there is something new

	telling  sync.Mutex // held while a message is sent, so that none follows that of the stop
	stopping bool       // guarded by telling

	mu           sync.Mutex    // guards what follows; nothing is sent under it
	change       inotify.Event // put into words when it is told, as most are followed by another before
	changed      time.Time     // zero before the first change
	run, refused string
}

func newLastEvents() *lastEvents { return &lastEvents{noted: make(chan struct{}, 1)} }

// note has the status composed again.
func (l *lastEvents) note() {
	select {
	case l.noted <- struct{}{}:
	default:
	}
}

// set replaces one of the texts.
func (l *lastEvents) set(which *string, text string) {
	l.mu.Lock()
	*which = text
	l.mu.Unlock()
	l.note()
}

// noteChange notes a change that concerns pages or a route. A trigger is none.
func (l *lastEvents) noteChange(batch []inotify.Event) {
	last := batch[len(batch)-1]
	if last.Mask == 0 {
		return
	}
	l.mu.Lock()
	l.change, l.changed = last, time.Now()
	l.mu.Unlock()
	l.note()
}

// noteRun notes how a route of the configuration ended.
func (l *lastEvents) noteRun(run router.Run) {
	if run.Outcome != router.Skipped && run.Outcome != router.Cancelled {
		l.set(&l.run, "last run "+forPeople(time.Now())+": "+run.Route+" "+run.Outcome.String())
	}
}

// noteDied notes that a service has ended by itself.
func (l *lastEvents) noteDied(route string) {
	l.set(&l.run, "last run "+forPeople(time.Now())+": "+route+" died")
}

// noteReload notes whether a configuration was refused.
func (l *lastEvents) noteReload(err error) {
	text := ""
	if err != nil {
		text = "configuration refused " + forPeople(time.Now()) + ": " + clip(oneLine(err.Error()), maxStatusError)
	}
	l.set(&l.refused, text)
}

// texts returns what there is to say, the oldest kind first.
func (l *lastEvents) texts() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	change := ""
	if !l.changed.IsZero() {
		change = "last change " + forPeople(l.changed) + ": " + clip(inotify.Quote(l.change.Name()), maxStatusPath)
	}
	return slices.DeleteFunc([]string{change, l.run, l.refused}, func(text string) bool { return text == "" })
}

// forPeople returns a time with its day, as it may be read days later.
func forPeople(t time.Time) string { return t.Format("Jan 2 15:04:05") }

// oneLine joins lines, and quotes a text with other bytes that do not print: what comes after
// the end of a line is another message to systemd.
func oneLine(text string) string {
	text = strings.Join(strings.FieldsFunc(text, func(r rune) bool { return r == '\n' }), "; ")
	if strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsPrint(r) }) || !utf8.ValidString(text) {
		return strconv.Quote(text)
	}
	return text
}

// clip shortens a text to so many bytes.
func clip(text string, size int) string {
	if len(text) <= size {
		return text
	}
	return strings.ToValidUTF8(text[:size], "") + "..."
}

// statusLine is the status that systemd shows: what the daemon does, and what happened last.
func (d *daemon) statusLine() string {
	parts := []string{d.status()}
	if d.active.Load().anyReloads() {
		parts[0] += ", " + logging.Count(d.openPages(), "page", "pages") + " open"
	}
	return strings.Join(append(parts, d.last.texts()...), "; ")
}

// tellStatus tells systemd the status, unless the daemon is stopping.
func (d *daemon) tellStatus(before, status string) {
	d.last.telling.Lock()
	defer d.last.telling.Unlock()
	if !d.last.stopping {
		d.notify(before + "STATUS=" + status)
	}
}

// notifyStopping tells systemd that the daemon is stopping and how long that may take, and
// nothing after that.
func (d *daemon) notifyStopping() {
	d.last.telling.Lock()
	defer d.last.telling.Unlock()
	d.last.stopping = true
	d.notify("STOPPING=1\nSTATUS=stopping")
	d.notify(fmt.Sprintf("EXTEND_TIMEOUT_USEC=%d", d.active.Load().StopTime().Microseconds()))
}

// keepStatus tells systemd that the daemon is ready, and then the status whenever it is
// another, once in statusInterval at most, until ctx ends. While nothing happens it does
// nothing.
func (d *daemon) keepStatus(ctx context.Context) error {
	if os.Getenv("NOTIFY_SOCKET") == "" {
		close(d.isReady)
		<-ctx.Done()
		return nil
	}
	if d.pipeline != nil && d.pipeline.group.Flush(ctx) != nil {
		return waitFor(ctx) // an error of the watcher is reported by its task
	}

	d.scans.ready()
	told := d.statusLine()
	d.tellStatus("READY=1\n", told)
	close(d.isReady)
	for ctx.Err() == nil {
		pages := d.pagesChanged() // before the status is composed, so that no change is missed
		if status := d.statusLine(); status != told {
			d.tellStatus("", status)
			told = status
		}

		select {
		case <-time.After(statusInterval):
		case <-ctx.Done():
		}
		waitForAny(ctx, 0, append(pages, d.last.noted)...)
	}
	return nil
}

// waitFor waits until ctx ends.
func waitFor(ctx context.Context) error {
	<-ctx.Done()
	return nil
}
