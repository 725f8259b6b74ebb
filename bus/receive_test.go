package bus

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats.go"
	"golang.org/x/sys/unix"

	"github.com/execlog/execlogd/inotify"
)

// A receiverTest is a root that receives, and what it has delivered.
type receiverTest struct {
	*root
	t         testing.TB
	delivered []string
}

func newReceiverTest(t testing.TB) *receiverTest {
	rt := &receiverTest{t: t}
	b, err := New(Options{URL: "nats://127.0.0.1", Roots: []Root{{Name: "site", Dir: t.TempDir(), Deliver: func(events []inotify.Event) {
		for _, e := range events {
			rt.delivered = append(rt.delivered, e.String())
		}
	}}}})
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range b.roots {
		rt.root = r
	}
	return rt
}

func (rt *receiverTest) write(path, text string) version {
	rt.t.Helper()
	name := filepath.Join(rt.Dir, path)
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		rt.t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
		rt.t.Fatal(err)
	}
	info, err := os.Lstat(name)
	if err != nil {
		rt.t.Fatal(err)
	}
	return versionOf(info)
}

// send has a machine send its message of a number.
func (rt *receiverTest) send(machine string, number uint64, changes ...change) {
	rt.t.Helper()
	rt.take(rt.bus.subject("changes", "site", machine), encode(rt.t, func(m *message) {
		m.Machine, m.Number, m.Changes = machine, number, changes
	}))
	rt.deliver(rt.t.Context())
}

// want checks what was delivered since the last time.
func (rt *receiverTest) want(events ...string) {
	rt.t.Helper()
	if got, want := strings.Join(rt.delivered, "\n"), strings.Join(events, "\n"); got != want {
		rt.t.Errorf("delivered\n%s\nwant\n%s", got, want)
	}
	rt.delivered = nil
}

func saved(path string, v version) change {
	return change{Path: []byte(path), Mask: inotify.CloseWrite, Version: v}
}

func TestDeliver(t *testing.T) {
	rt := newReceiverTest(t)
	a := rt.write("a", "1")
	rt.send("m", 1, saved("a", a))
	rt.want("close_write a")

	rt.send("m", 1, saved("a", a))
	rt.send(rt.bus.machine, 1, saved("a", a))
	rt.want() // what came before, and this machine's own

	rt.send("n", 1, saved("a", a))
	rt.want() // another machine has told of it
	rt.send("m", 2, saved("a", a))
	rt.want("close_write a")
	rt.send("n", 2, change{Path: []byte("gone"), Mask: inotify.Delete, Version: version{Gone: true}})
	rt.want("delete gone")
}

// A file that is not here yet holds back what comes after it, for a time.
func TestDeliverWaits(t *testing.T) {
	rt := newReceiverTest(t)
	old := rt.write("a", "old")
	b := rt.write("b", "b")
	late := version{Size: 4, Modified: old.Modified + 1e9}
	rt.send("m", 1, saved("a", late), saved("b", b))
	rt.want()

	rt.write("a", "1234")
	if err := os.Chtimes(filepath.Join(rt.Dir, "a"), time.Time{}, time.Unix(0, late.Modified)); err != nil {
		t.Fatal(err)
	}
	rt.deliver(t.Context())
	rt.want("close_write a", "close_write b")

	rt.send("m", 2, saved("never", late), saved("b", version{Modified: b.Modified}))
	rt.want()
	rt.queue[0].until = time.Now()
	rt.deliver(t.Context())
	rt.want("close_write never")
}

// What takes the place of a file may have an older mtime than that.
func TestDeliverWaitsForAnOlderFile(t *testing.T) {
	rt := newReceiverTest(t)
	was := rt.write("a", "old")
	older := time.Unix(0, was.Modified).Add(-time.Hour)
	rt.send("m", 1, saved("a", version{Size: 1, Modified: older.UnixNano(), Changed: was.Changed + 1}))
	rt.want()
	rt.write("a", "1")
	if err := os.Chtimes(filepath.Join(rt.Dir, "a"), time.Time{}, older); err != nil {
		t.Fatal(err)
	}
	rt.deliver(t.Context())
	rt.want("close_write a")
}

// Of a file that changes again before it is here, only the last version is awaited.
func TestDeliverAwaitsTheLastVersion(t *testing.T) {
	rt := newReceiverTest(t)
	now := time.Now().UnixNano()
	rt.send("m", 1, saved("a", version{Size: 1, Modified: now}))
	rt.want()
	rt.send("m", 2, change{Path: []byte("a"), Mask: inotify.Delete, Version: version{Gone: true, Modified: now}})
	rt.want("close_write a", "delete a")
}

// What is found by looking for changes is news unless somebody has told of it, and is no news
// any more when somebody tells of it later. What the kernel tells of is published all the same.
func TestNews(t *testing.T) {
	rt := newReceiverTest(t)
	for _, name := range []string{"told", "own", "found"} {
		rt.write(name, name)
	}
	version := func(name string) version {
		dir, err := os.OpenRoot(rt.Dir)
		if err != nil {
			t.Fatal(err)
		}
		defer dir.Close()
		v, _, err := look(dir, name)
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	rt.send("m", 1, saved("told", version("told")))
	rt.want("close_write told")
	rt.bus.Publish(rt.Dir, modified("own"))
	if got := paths(rt.bus.News(rt.Dir, modified("told", "own", "found"))); got != "found" {
		t.Errorf("news are %s, want found", got)
	}
	rt.send("m", 2, saved("found", version("found")))
	rt.want()
	rt.bus.Publish(rt.Dir, modified("found", "told"))
	m, err := parse(rt.nextMessage().Data, rt.bus.machine)
	if err != nil || len(m.Changes) != 2 || string(m.Changes[0].Path)+string(m.Changes[1].Path) != "ownfound" {
		t.Errorf("it publishes %+v, %v; want own and found", m.Changes, err)
	}
}

// What another machine changes is news although a change of this one waits for the server.
func TestNewsOfWhatWaits(t *testing.T) {
	rt := newReceiverTest(t)
	rt.write("a", "1")
	rt.bus.Publish(rt.Dir, modified("a"))
	want := func(news string) {
		t.Helper()
		if got := paths(rt.bus.News(rt.Dir, modified("a"))); got != news {
			t.Errorf("news are %q, want %q", got, news)
		}
	}
	want("")
	rt.write("a", "another")
	want("a")
	rt.write("a", "own again")
	rt.bus.Publish(rt.Dir, modified("a"))
	want("")
}

// A message that is missing, or of which the sender says that it dropped some, makes a
// comparison.
func TestLoss(t *testing.T) {
	rt := newReceiverTest(t)
	a := rt.write("a", "1")
	rt.write("sub/b", "2")
	rt.write("sub/old", "3")
	rt.send("m", 1, saved("a", a))
	rt.want("close_write a")
	rt.complete = time.Now()
	rt.send("m", 3, saved("a", a))
	const overflow = "q_overflow|isdir ."
	rt.want(overflow, "modify|isdir .", "modify|isdir sub", "modify|close_write|create sub/b", "modify|close_write|create sub/old", "close_write a")

	rt.take(rt.bus.subject("changes", "site", "m"), encode(t, func(m *message) {
		m.Number, m.Changes, m.Lost = 4, nil, time.Now().Add(time.Hour).UnixMilli()
	}))
	rt.deliver(t.Context())
	rt.want(overflow) // nothing has changed since
}

// A comparison that is cut short, because the connection is lost, is made by the next session.
func TestLossIsComparedByTheNextSession(t *testing.T) {
	rt := newReceiverTest(t)
	rt.write("a", "1")
	rt.lose(time.Now())
	ctx, lose := context.WithCancel(t.Context())
	deliver := rt.Deliver
	rt.Deliver = func(events []inotify.Event) {
		lose()
		deliver(events)
	}
	rt.deliver(ctx)
	const overflow = "q_overflow|isdir ."
	rt.want(overflow)
	rt.deliver(t.Context())
	rt.want(overflow, "modify|isdir .", "modify|close_write|create a")
	rt.deliver(t.Context())
	rt.want()
}

// What is in the stream since this machine began is told by the clock of the server: a machine
// whose own is ahead would leave out what came before the first connection.
func TestBeganByTheServersClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rt := newReceiverTest(t)
		began := rt.began
		time.Sleep(time.Second)
		for _, ahead := range []time.Duration{0, time.Hour, -time.Hour} {
			server := began.Add(-ahead)
			if got := rt.beganBy(server.Add(time.Second)); !got.Equal(server) {
				t.Errorf("by a clock that is behind by %v it began at %v, want %v", ahead, got, server)
			}
		}
		if got := rt.beganBy(time.Time{}); !got.Equal(began) {
			t.Errorf("by its own clock it began at %v, want %v", got, began)
		}
	})
}

// What has come is kept while the root cannot be opened although it is there.
func TestDeliverWithoutDescriptors(t *testing.T) {
	rt := newReceiverTest(t)
	a := rt.write("a", "1")
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	setLimit := func(n uint64) {
		t.Helper()
		if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: n, Max: limit.Max}); err != nil {
			t.Fatal(err)
		}
	}
	defer setLimit(limit.Cur)
	setLimit(0)
	rt.send("m", 1, saved("a", a))
	rt.want()
	if rt.pause <= 0 {
		t.Error("it looks again without a pause")
	}
	setLimit(limit.Cur)
	rt.deliver(t.Context())
	rt.want("close_write a")
}

// What is in a directory that this user may not enter is no junk.
func TestDeliverWithoutPermission(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can take another user's permissions")
	}
	rt := newReceiverTest(t)
	hidden, a := rt.write("private/f", "1"), rt.write("a", "1")
	for dir, mode := range map[string]os.FileMode{filepath.Dir(rt.Dir): 0o755, filepath.Join(rt.Dir, "private"): 0o700} {
		if err := os.Chmod(dir, mode); err != nil {
			t.Fatal(err)
		}
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	const nobody = 65534
	if err := unix.Setfsuid(nobody); err != nil {
		t.Fatal(err)
	}
	defer unix.Setfsuid(0)
	rt.send("m", 1, saved("private/f", hidden), saved("a", a))
	rt.want("close_write a")
	if junk := rt.bus.Stats().Junk; junk != 0 {
		t.Errorf("junk %d, want none", junk)
	}
}

// Nothing is looked at outside the root, and junk is counted.
func TestJunk(t *testing.T) {
	rt := newReceiverTest(t)
	outside := t.TempDir()
	if err := os.Symlink(outside, filepath.Join(rt.Dir, "out")); err != nil {
		t.Fatal(err)
	}
	rt.send("m", 1, saved("out/f", version{Modified: 1}))
	rt.take(rt.bus.subject("changes", "site", "n"), []byte("junk"))
	rt.want()
	if junk := rt.bus.Stats().Junk; junk != 2 {
		t.Errorf("junk %d, want 2", junk)
	}
}

func TestMachinesAreBounded(t *testing.T) {
	rt := newReceiverTest(t)
	for i := range 2 * maxMachines {
		rt.send(fmt.Sprint("m", i), 1, saved("a", version{Modified: 1}))
	}
	if len(rt.numbers) > maxMachines {
		t.Errorf("%d machines are remembered", len(rt.numbers))
	}
}

func TestIsHeard(t *testing.T) {
	tests := []struct {
		name  string
		beats string // who is heard at which second: + sees everything, - only its own
		heard string // by second, from 0 to 9
	}{
		{"nobody", "", "----------"},
		{"a machine that sees its own changes", "-1", "-xxxxxx---"},
		{"machines that beat", "-1 -3 -5", "-xxxxxxxxx"},
		{"one that sees everything counts alone, from then on", "-0 +1 -6 -8", "xxxxxxx---"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var r receiver
				root := root{receiver: r}
				var heard strings.Builder
				for second := range 10 {
					for beat := range strings.FieldsSeq(tt.beats) {
						if beat[1:] == fmt.Sprint(second) {
							root.heard = time.Now()
							if beat[0] == '+' {
								root.heardAll = root.heard
							}
						}
					}
					heard.WriteString(map[bool]string{true: "x", false: "-"}[root.isHeard(time.Now())])
					time.Sleep(time.Second)
				}
				if heard.String() != tt.heard {
					t.Errorf("heard %s, want %s", heard.String(), tt.heard)
				}
			})
		})
	}
}

// hear has a machine say whether it sees everything, and whether it has just come.
func (rt *receiverTest) hear(machine string, sees, asks bool) {
	rt.t.Helper()
	data, err := json.Marshal(beat{Format: format, Sees: sees, Asks: asks})
	if err != nil {
		rt.t.Fatal(err)
	}
	rt.root.hear(&nats.Msg{Subject: rt.bus.subject("alive", "site", machine), Data: data})
}

// What a machine of another version says of itself is junk, and it is said why.
func TestHearJunk(t *testing.T) {
	rt := newReceiverTest(t)
	var said strings.Builder
	rt.bus.log = slog.New(slog.NewTextHandler(&said, nil))
	rt.root.hear(&nats.Msg{Subject: rt.bus.subject("alive", "site", "m"), Data: []byte(`{"v":2,"sees":true}`)})
	if rt.isHeard(time.Now()) || rt.bus.Stats().Junk != 1 || !strings.Contains(said.String(), "format 2") {
		t.Errorf("heard %v, junk %d; it said\n%s", rt.isHeard(time.Now()), rt.bus.Stats().Junk, said.String())
	}
}

// What has changed between two machines that see everything, as when a relay is started again, is
// looked for.
func TestHeardAnother(t *testing.T) {
	rt := newReceiverTest(t)
	rt.hear("a", true, true)
	rt.write("a", "1")
	rt.hear("a", true, true)
	rt.deliver(t.Context())
	rt.want()
	rt.hear("own changes", false, true)
	rt.deliver(t.Context())
	rt.want()
	rt.hear("long there", true, false)
	rt.deliver(t.Context())
	rt.want()
	rt.hear("b", true, true)
	rt.hear("c", true, true)
	rt.deliver(t.Context())
	rt.want("q_overflow|isdir .", "modify|isdir .", "modify|close_write|create a")
	rt.hear("a", true, true)
	rt.deliver(t.Context())
	rt.want()
}

// A machine that does not see everything any more, because another file system was mounted there,
// is one of those that tell what they change.
func TestHeardNoMore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rt := newReceiverTest(t)
		want := func(what string, heard bool) {
			t.Helper()
			if got := rt.isHeard(time.Now()); got != heard {
				t.Errorf("%s: heard %v, want %v", what, got, heard)
			}
		}
		rt.hear("a", true, false)
		rt.hear("b", true, false)
		time.Sleep(silence)
		want("none says anything", false)
		rt.hear("a", false, false)
		want("b is silent", false)
		rt.hear("b", false, false)
		want("each sees its own changes", true)
		for i := range 2 * maxMachines {
			rt.hear(fmt.Sprint("m", i), true, false)
		}
		if len(rt.seers) > maxMachines {
			t.Errorf("%d machines are remembered", len(rt.seers))
		}
	})
}
