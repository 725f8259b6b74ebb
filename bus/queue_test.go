package bus

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/execlog/execlogd/inotify"
)

// encodeJob returns a job of a path.
func encodeJob(t testing.TB, edit func(*queuedJob)) []byte {
	t.Helper()
	j := queuedJob{Format: format, From: "m", Changes: []change{{Path: []byte("a/b"), Mask: inotify.Modify}}}
	edit(&j)
	data, err := json.Marshal(j)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func TestParseJob(t *testing.T) {
	path := func(p string) func(*queuedJob) { return func(j *queuedJob) { j.Changes[0].Path = []byte(p) } }
	tests := []struct {
		name string
		edit func(*queuedJob)
		ok   bool
	}{
		{"a change", func(*queuedJob) {}, true},
		{"somebody asks for it", func(j *queuedJob) { j.Changes[0].Mask = 0 }, true},
		{"the root", path("."), true},
		{"a name that is not UTF-8", path("\xff"), true},
		{"a rename", func(j *queuedJob) { j.Changes[0].Mask, j.Changes[0].From = inotify.MovedTo, []byte("c") }, true},
		{"one that has failed", func(j *queuedJob) { j.Failed, j.After = 3, 1 }, true},
		{"as many changes as it may have", func(j *queuedJob) {
			for len(j.Changes) < maxEvents {
				j.Changes = append(j.Changes, j.Changes[0])
			}
		}, true},

		{"a path above the root", path("../a"), false},
		{"a path that leads above the root", path("a/../../b"), false},
		{"an absolute path", path("/etc/passwd"), false},
		{"no path", path(""), false},
		{"a path that is not clean", path("a//b"), false},
		{"a path with a slash at its end", path("a/"), false},
		{"a path with NUL", path("a\x00b"), false},
		{"a path that is too long", path(strings.Repeat("a/", maxPath/2) + "b"), false},
		{"an old path above the root", func(j *queuedJob) { j.Changes[0].Mask, j.Changes[0].From = inotify.MovedTo, []byte("../c") }, false},
		{"an event that is not sent", func(j *queuedJob) { j.Changes[0].Mask |= inotify.Open }, false},
		{"an overflow", func(j *queuedJob) { j.Changes[0].Mask = inotify.Overflow }, false},
		{"a wrong change after a right one", func(j *queuedJob) { j.Changes = append(j.Changes, change{Path: []byte("/etc/passwd")}) }, false},
		{"another format", func(j *queuedJob) { j.Format = 2 }, false},
		{"no change", func(j *queuedJob) { j.Changes = nil }, false},
		{"too many changes", func(j *queuedJob) {
			for len(j.Changes) <= maxEvents {
				j.Changes = append(j.Changes, j.Changes[0])
			}
		}, false},
		{"failures below zero", func(j *queuedJob) { j.Failed = -1 }, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := parseJob(encodeJob(t, tt.edit)); (err == nil) != tt.ok {
				t.Errorf("error %v", err)
			}
		})
	}
	tooLong := string(encodeJob(t, func(*queuedJob) {})) + strings.Repeat(" ", maxMessageBytes)
	for _, junk := range []string{"", "null", "[]", `"text"`, "{", tooLong} {
		if _, err := parseJob([]byte(junk)); err == nil {
			t.Errorf("%.20q is a job", junk)
		}
	}
}

// What parseJob lets through leads nowhere but below the directory of the queue.
func FuzzParseJob(f *testing.F) {
	f.Add(encodeJob(f, func(*queuedJob) {}))
	f.Add(encodeJob(f, func(j *queuedJob) { j.Changes[0].Path = []byte("../x") }))
	f.Add(encodeJob(f, func(j *queuedJob) { j.Changes[0].Path = []byte(".") }))
	f.Fuzz(func(t *testing.T, data []byte) {
		j, err := parseJob(data)
		if err != nil {
			return
		}
		events := j.events("/root")
		if len(events) == 0 || len(events) > maxEvents {
			t.Errorf("%d events", len(events))
		}
		for _, e := range events {
			if name := e.Name(); name != "/root" && !strings.HasPrefix(name, "/root/") || filepath.Clean(name) != name || e.Mask&^sentMask != 0 {
				t.Errorf("event %v, which nobody puts into a queue", e)
			}
		}
	})
}

// newTestQueue returns a queue of a Bus of its own, with a directory that has the files.
func newTestQueue(t *testing.T, perFile bool, files ...string) *queue {
	t.Helper()
	dir := t.TempDir()
	for _, f := range files {
		if err := os.WriteFile(filepath.Join(dir, f), []byte(f), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	b, err := New(Options{URL: "nats://h", Queues: []Queue{{Name: "q", Dir: dir, PerFile: perFile}}})
	if err != nil {
		t.Fatal(err)
	}
	return b.queues["q"]
}

// jobs lists the paths of each job.
func jobs(parts [][]change) string {
	var all []string
	for _, changes := range parts {
		var paths []string
		for _, c := range changes {
			paths = append(paths, string(c.Path))
		}
		all = append(all, strings.Join(paths, "+"))
	}
	return strings.Join(all, " ")
}

func TestSplit(t *testing.T) {
	for perFile, want := range map[bool]string{true: "a b none", false: "a+b+none"} {
		q := newTestQueue(t, perFile, "a", "b")
		events := modified("a", "b", "../c", strings.Repeat("x", maxPath+1), "none")
		events[0].Mask |= inotify.Open | inotify.CloseWrite
		events[1].From = "../old"
		parts := q.split(events)
		if got := jobs(parts); got != want {
			t.Fatalf("per file %v: jobs %q, want %q", perFile, got, want)
		}
		var all []change
		for _, changes := range parts {
			all = append(all, changes...)
		}
		if a := all[0]; a.Mask != inotify.Modify|inotify.CloseWrite || a.Version.Size != 1 || a.Version.Modified == 0 {
			t.Errorf("the change of a is %+v", a)
		}
		if all[1].From != nil || !all[2].Version.Gone {
			t.Errorf("changes %+v", all[1:])
		}
		for i, changes := range parts {
			data, err := json.Marshal(queuedJob{Format: format, Changes: changes})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := parseJob(data); err != nil {
				t.Errorf("job %d is taken for junk: %v", i, err)
			}
		}
	}
}

// A job has no more than a machine takes, in number and in bytes.
func TestSplitIsBounded(t *testing.T) {
	q := newTestQueue(t, false)
	events := modified()
	for i := range 2*maxEvents + 1 {
		events = append(events, modified(fmt.Sprint(i))...)
	}
	long := strings.Repeat("x", 200)
	for i := range 2 * fullMessage / (15 * len(long)) {
		events = append(events, modified(strings.Repeat(long+"/", 15)+fmt.Sprint(i))...)
	}
	total := 0
	parts := q.split(events)
	for i, changes := range parts {
		total += len(changes)
		data, err := json.Marshal(queuedJob{Format: format, Changes: changes})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := parseJob(data); err != nil {
			t.Errorf("job %d of %d changes is taken for junk: %v", i, len(changes), err)
		}
	}
	if total != len(events) || len(parts) < 4 || len(parts) > 6 {
		t.Errorf("%d jobs with %d changes, want about 4 with %d", len(parts), total, len(events))
	}
}

// Jobs of a file have one key on all machines; others have one on each.
func TestJobKey(t *testing.T) {
	a, b := []change{{Path: []byte("a")}}, []change{{Path: []byte("b")}}
	one, other := newTestQueue(t, true), newTestQueue(t, true)
	if one.key(0, a) != other.key(5, a) || one.key(0, a) == one.key(0, b) {
		t.Error("a file has not one key of its own")
	}
	one, other = newTestQueue(t, false), newTestQueue(t, false)
	if one.key(0, a) != one.key(0, b) || one.key(0, a) == one.key(1, a) || one.key(0, a) == other.key(0, a) {
		t.Error("a part of what a machine puts there has not one key of its own")
	}
	if err := CheckName(one.key(0, a)); err != nil {
		t.Errorf("no word of a subject: %v", err)
	}
}

// The same version of a file is one job, whichever machine has seen it, and however. What
// somebody asks for is new each time.
func TestJobID(t *testing.T) {
	q, other := newTestQueue(t, true), newTestQueue(t, true)
	is := func(path string, v version, mask inotify.Mask) []change {
		return []change{{Path: []byte(path), Mask: mask, Version: v}}
	}
	v := version{Size: 1, Modified: 2, Changed: 3}
	first := q.id(is("a", v, inotify.Modify), "")
	for name, id := range map[string]string{
		"at another machine":        other.id(is("a", v, inotify.Modify), ""),
		"by another kind of event":  q.id(is("a", v, inotify.Create|inotify.CloseWrite), ""),
		"by a rename from anywhere": q.id([]change{{Path: []byte("a"), From: []byte("b"), Mask: inotify.MovedTo, Version: v}}, ""),
	} {
		if id != first {
			t.Errorf("%s it is another job", name)
		}
	}
	for name, id := range map[string]string{
		"another path":         q.id(is("b", v, inotify.Modify), ""),
		"another size":         q.id(is("a", version{Size: 2, Modified: 2, Changed: 3}, inotify.Modify), ""),
		"another time":         q.id(is("a", version{Size: 1, Modified: 4, Changed: 3}, inotify.Modify), ""),
		"another ctime":        q.id(is("a", version{Size: 1, Modified: 2, Changed: 4}, inotify.Modify), ""),
		"one that was lost":    q.id(is("a", v, inotify.Modify), "again"),
		"more files":           q.id(append(is("a", v, inotify.Modify), is("b", v, inotify.Modify)...), ""),
		"somebody asks for it": q.id(is("a", v, 0), ""),
		"a file that is gone":  q.id(is("a", version{Gone: true, Modified: 2}, inotify.Delete), ""),
	} {
		if id == first {
			t.Errorf("%s is the same job", name)
		}
	}
	if one, two := q.id(is("a", v, 0), ""), q.id(is("a", v, 0), ""); one == two {
		t.Error("what is asked for twice is one job")
	}
	gone := is("a", version{Gone: true, Modified: 2}, inotify.Delete)
	if one, two := q.id(gone, ""), other.id(gone, ""); one == two {
		t.Error("what two machines see gone is one job")
	}
	for name, changes := range map[string][]change{
		"what cannot be looked at changes": is("a", version{}, inotify.Modify),
		"more has changed than is said":    is(".", v, inotify.IsDir),
	} {
		if one, two := q.id(changes, ""), q.id(changes, ""); one == two {
			t.Errorf("when %s twice that is one job", name)
		}
	}
	named := newTestQueue(t, true)
	named.Name = "r"
	if named.id(is("a", v, inotify.Modify), "") == first {
		t.Error("jobs of two queues are one")
	}
}

func TestCheckQueue(t *testing.T) {
	for want, q := range map[string]Queue{
		`name "a.b"`:                  {Name: "a.b", Dir: "/d"},
		"directory \"d\" is not abso": {Name: "q", Dir: "d"},
		"want at least 1s":            {Name: "q", Dir: "/d", AckWait: time.Millisecond},
	} {
		if _, err := New(Options{URL: "nats://h", Queues: []Queue{q}}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want %q", err, want)
		}
	}
	q := Queue{Name: "q", Dir: "/d"}
	if _, err := New(Options{URL: "nats://h", Queues: []Queue{q, q}}); err == nil || !strings.Contains(err.Error(), "twice") {
		t.Errorf("two queues of one name: %v", err)
	}
}
