package bus

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/execlog/execlogd/inotify"
)

// One machine does a file at a time, as far as is known.
func TestOneMachineDoesAFile(t *testing.T) {
	k, other := jobKey{"q", "key"}, jobKey{"q", "other"}
	const wait = 3 * time.Second
	begin := func(u *jobsUnderWay, number uint64) bool {
		begun, _ := u.begin(k, number, 7, "a", wait)
		return begun
	}
	tests := []struct {
		name string
		do   func(u *jobsUnderWay) bool
		want bool
	}{
		{"nobody does it", func(u *jobsUnderWay) bool { return begin(u, 2) }, true},
		{"another version is done", func(u *jobsUnderWay) bool {
			u.note(k, 1, "b", wait)
			return begin(u, 2)
		}, false},
		{"a later version is done", func(u *jobsUnderWay) bool {
			u.note(k, 3, "b", wait)
			return begin(u, 2)
		}, false},
		{"another file is done", func(u *jobsUnderWay) bool {
			u.note(other, 1, "b", wait)
			return begin(u, 2)
		}, true},
		{"another version was done", func(u *jobsUnderWay) bool {
			u.note(k, 1, "b", wait)
			u.end(k, 1)
			return begin(u, 2)
		}, true},
		{"the end of an older one is said late", func(u *jobsUnderWay) bool {
			u.note(k, 2, "b", wait)
			u.end(k, 1)
			return begin(u, 3)
		}, false},
		{"nothing is heard of it for as long as it is believed", func(u *jobsUnderWay) bool {
			u.note(k, 1, "b", wait)
			time.Sleep(wait)
			return begin(u, 2)
		}, true},
		{"it was heard of again", func(u *jobsUnderWay) bool {
			u.note(k, 1, "b", wait)
			time.Sleep(wait - time.Millisecond)
			u.note(k, 1, "b", wait)
			time.Sleep(wait - time.Millisecond)
			return begin(u, 2)
		}, false},
		{"an older one is said late", func(u *jobsUnderWay) bool {
			u.note(k, 2, "b", wait)
			time.Sleep(wait - time.Millisecond)
			u.note(k, 1, "b", wait)
			time.Sleep(time.Millisecond)
			return begin(u, 3)
		}, true},
		{"a later one is not believed any more, and the stream begins anew", func(u *jobsUnderWay) bool {
			u.note(k, 1000, "b", wait)
			time.Sleep(wait)
			u.note(k, 1, "b", wait)
			return begin(u, 2)
		}, false},
		{"it is renewed here", func(u *jobsUnderWay) bool {
			begin(u, 1)
			time.Sleep(wait - time.Millisecond)
			renewed := u.renew(k, 1, "a", wait)
			time.Sleep(wait - time.Millisecond)
			return renewed && !begin(u, 2)
		}, true},
		{"what another machine does is not renewed", func(u *jobsUnderWay) bool {
			u.note(k, 1, "b", wait)
			return u.renew(k, 1, "a", wait)
		}, false},
		{"what is over is not renewed", func(u *jobsUnderWay) bool {
			begin(u, 1)
			u.end(k, 1)
			return u.renew(k, 1, "a", wait)
		}, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				if got := tt.do(new(jobsUnderWay)); got != tt.want {
					t.Errorf("got %v, want %v", got, tt.want)
				}
			})
		})
	}
}

// However many jobs somebody invents, few are kept.
func TestUnderWayIsBounded(t *testing.T) {
	var u jobsUnderWay
	for i := range maxUnderWay + 10 {
		u.note(jobKey{"q", fmt.Sprint(i)}, 1, "b", time.Hour)
	}
	if len(u.all) > maxUnderWay {
		t.Errorf("%d are kept", len(u.all))
	}
}

// What nobody sends is dropped and counted, and holds no job up for long.
func TestHearWorking(t *testing.T) {
	var said strings.Builder
	b, err := New(Options{URL: "nats://h", Logger: slog.New(slog.NewTextHandler(&said, nil))})
	if err != nil {
		t.Fatal(err)
	}
	hear := func(data string) {
		b.hearWorking(&nats.Msg{Subject: "execlogd.default.working.q.key", Data: []byte(data)})
	}
	junk := []string{"", "junk", "null", "{}", `{"v":2,"m":"x","n":1,"w":1000}`, `{"v":1,"m":"x","w":1000}`, `{"v":1,"m":"x","n":-1}`}
	for _, data := range junk {
		hear(data)
	}
	if n := b.Stats().Junk; n != uint64(len(junk)) || len(b.working.all) != 0 {
		t.Errorf("%d messages are junk, want %d; jobs under way: %v", n, len(junk), b.working.all)
	}
	if n := strings.Count(said.String(), "is not of execlogd"); n != 1 {
		t.Errorf("it was said %d times", n)
	}

	for _, ms := range []string{"9223372036854775807", "9223372036855", "3600000", "-1"} {
		hear(`{"v":1,"m":"x","n":1,"w":` + ms + `}`)
		if is := b.working.all[jobKey{"q", "key"}]; is.number != 1 || time.Until(is.until) > maxWorkWait {
			t.Errorf("for %s ms it is believed until %v", ms, is.until)
		}
	}
}

// A job waits while a machine does it, or another version of it, and is not done again when it
// is over.
func TestJobsUnderWay(t *testing.T) {
	const long = time.Hour
	k := jobKey{"thumbs", "a"}
	for _, tt := range []struct {
		name           string
		before         func(u *jobsUnderWay)
		begins, isOver bool // of job 2
	}{
		{"nothing is known", func(*jobsUnderWay) {}, true, false},
		{"another version", func(u *jobsUnderWay) { u.note(k, 1, "other", long) }, false, false},
		{"the same job there", func(u *jobsUnderWay) { u.note(k, 2, "other", long) }, false, false},
		{"the same job here", func(u *jobsUnderWay) { u.begin(k, 2, 7, "this", long) }, false, false},
		{"nothing was said for long", func(u *jobsUnderWay) { u.note(k, 2, "other", -1) }, true, false},
		{"given back", func(u *jobsUnderWay) { u.note(k, 2, "other", long); u.note(k, 2, "other", 0) }, true, false},
		{"ended without success", func(u *jobsUnderWay) { u.note(k, 2, "other", long); u.end(k, 2) }, true, false},
		{"the job of another file", func(u *jobsUnderWay) { u.note(jobKey{"thumbs", "b"}, 2, "other", long) }, true, false},
		{"over", func(u *jobsUnderWay) { u.finish(k, 2, 7) }, false, true},
		{"an older one is over", func(u *jobsUnderWay) { u.finish(k, 1, 7) }, true, false},
		{"one of another stream is over", func(u *jobsUnderWay) { u.finish(k, 2, 6) }, true, false},
	} {
		var u jobsUnderWay
		tt.before(&u)
		if begun, isOver := u.begin(k, 2, 7, "this", long); begun != tt.begins || isOver != tt.isOver {
			t.Errorf("%s: it begins: %v, it is over: %v", tt.name, begun, isOver)
		}
	}
}

// A job begins although its file is gone, also when a file is where its directory was. One that
// leads out of the directory of the queue does not.
func TestAwaitArrivalOfWhatIsGone(t *testing.T) {
	q := newTestQueue(t, true, "file")
	if err := os.Symlink(t.TempDir(), filepath.Join(q.Dir, "out")); err != nil {
		t.Fatal(err)
	}
	for path, begins := range map[string]bool{"gone": true, "gone/f": true, "file/f": true, "out/f": false} {
		j := queuedJob{Changes: []change{{Path: []byte(path), Mask: inotify.Delete, Version: version{Gone: true}}}}
		if err := q.awaitArrival(t.Context(), &j); (err == nil) != begins {
			t.Errorf("%s: error %v", path, err)
		}
	}
}
