package httpd

import (
	"bytes"
	"fmt"
	"reflect"
	"strings"
	"sync/atomic"
	"testing"
	"time"
	"unicode/utf8"
)

// someRuns are a run of each kind, the newest first.
func someRuns() []Run {
	noon := time.UnixMilli(1_700_000_000_000)
	return []Run{
		{ID: 9, Route: "serve", Command: "server -v", Batch: 0, Start: noon, Took: time.Hour, State: RunRunning, Outcome: "ready"},
		{
			ID: 8, Route: "build<b>", Command: `sh -c "<script>alert(1)</script>"`, Paths: []string{"a.md", "b\xff.md"}, Batch: 7,
			Start: noon, Took: 1234567 * time.Microsecond, State: RunFailed, Outcome: "exit status 1", Output: []byte("</pre><script>\xff\n"),
		},
		{ID: 7, Route: "check", Command: "true", Paths: []string{"a.md"}, Batch: 1, Start: noon, Took: time.Second, State: RunDone, Outcome: "done", LeftBehind: "left running: java (7)"},
	}
}

func TestRunsAreShown(t *testing.T) {
	run := serve(t, Options{Root: t.TempDir(), Runs: func(int, int) []Run { return someRuns() }})
	const noon = 1_700_000_000_000
	want := []runRow{
		{Key: "9 1700000000000", Start: noon, Route: "serve", State: "running", Outcome: "ready", Command: "server -v", Paths: []string{}},
		{
			"8 1700000000000", noon, "build<b>", "failed", "exit status 1 after 1.235s", `sh -c "<script>alert(1)</script>"`,
			[]string{"a.md", "b\ufffd.md"},
			"and 5 more files", "</pre><script>\ufffd\n",
		},
		{Key: "7 1700000000000", Start: noon, Route: "check", State: "done", Outcome: "done after 1s; left running: java (7)", Command: "true", Paths: []string{"a.md"}},
	}
	if got := run.seen().Runs; !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	_, body := run.get(t, "GET", "/.execlogd/")
	for _, text := range []string{
		`data-state="failed"`, "build&lt;b&gt;</span>", "exit status 1 after 1.235s", "&lt;script&gt;alert(1)", "&lt;/pre&gt;&lt;script&gt;\ufffd\n</pre>",
	} {
		if !strings.Contains(body, text) {
			t.Errorf("no %s in %s", text, body)
		}
	}
	if strings.Contains(body, "<script>") || strings.Contains(body, "Nothing has run") != strings.Contains(body, `<p class="empty" hidden>Nothing has run`) {
		t.Errorf("got %s", body)
	}
}

// Others see that something has run, and whether it failed.
func TestRunsTellOthersLittle(t *testing.T) {
	run := serve(t, Options{Root: t.TempDir(), Runs: func(int, int) []Run { return someRuns() }})
	_, body := run.get(t, "GET", "/.execlogd/", "X-Forwarded-For", "10.0.0.7")
	for _, text := range []string{"server -v", "alert(1)", "a.md", "exit status", "/pre&gt;"} {
		if strings.Contains(body, text) {
			t.Errorf("%q is shown in %s", text, body)
		}
	}
	for _, text := range []string{">serve</span>", ">ready<", ">failed after 1.235s<", ">7 files<", ">done after 1s<", ">1 file<"} {
		if !strings.Contains(body, text) {
			t.Errorf("no %q in %s", text, body)
		}
	}
}

// Whoever has more to say than was asked for is cut short.
func TestRunsAreBounded(t *testing.T) {
	long := strings.Repeat("x", 100_000)
	var asked [2]int
	s := newServer(t, Options{Runs: func(runs, output int) []Run {
		asked = [2]int{runs, output}
		r := Run{Route: long, Command: long, Outcome: long, Output: []byte(long)}
		for range 2 * maxRunPaths {
			r.Paths = append(r.Paths, long)
			r.Batch++
		}
		var all []Run
		for range 10 * maxRuns {
			all = append(all, r)
		}
		return all
	}})
	v := view{Runs: s.current.Load().runRows(true)}
	if asked != [2]int{maxRuns, maxRunOutput} {
		t.Errorf("asked for %v", asked)
	}
	if n := len(v.json()); len(v.Runs) != maxRuns || len(v.Runs[0].Paths) != maxRunPaths || n > 256<<10 {
		t.Errorf("%d runs of %d paths, %d bytes", len(v.Runs), len(v.Runs[0].Paths), n)
	}
}

func TestEndOfOutput(t *testing.T) {
	line := strings.Repeat("x", 99) + "\n"
	tests := []struct{ name, output, want string }{
		{"nothing", "", ""},
		{"all that fits", strings.Repeat("x", maxRunOutput), strings.Repeat("x", maxRunOutput)},
		{"whole lines", strings.Repeat(line, 100), strings.Repeat(line, maxRunOutput/100)},
		{"the end of a long line", strings.Repeat("x", 2*maxRunOutput), strings.Repeat("x", maxRunOutput)},
		{"also of the last", strings.Repeat("x", 2*maxRunOutput) + "\n", strings.Repeat("x", maxRunOutput-1) + "\n"},
		{"whole characters", strings.Repeat("€", maxRunOutput), strings.Repeat("€", maxRunOutput/3)},
		{"what is no text", "a\xff\n", "a\ufffd\n"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := endOf([]byte(tt.output)); got != tt.want {
				t.Errorf("got %d bytes %.40q, want %d", len(got), got, len(tt.want))
			}
		})
	}
}

func FuzzEndOfOutput(f *testing.F) {
	f.Add([]byte("a\nb"), uint16(1))
	f.Add([]byte("\xe2\x82\xac\n\xff"), uint16(maxRunOutput))
	f.Fuzz(func(t *testing.T, piece []byte, times uint16) {
		output := bytes.Repeat(piece, 1+int(times)%maxRunOutput)
		got := endOf(output)
		if !utf8.ValidString(got) || !strings.HasSuffix(printable(string(output)), got) {
			t.Errorf("%.40q is not the end of %.40q", got, output)
		}
		if len(got) == 0 && utf8.Valid(output) && len(output) > 0 {
			t.Errorf("nothing of %.40q", output)
		}
	})
}

// What runs is followed as it runs.
func TestEventsTellOfRuns(t *testing.T) {
	var output atomic.Int64
	changed := make(chan chan struct{}, 1)
	changed <- make(chan struct{})
	run := serve(t, Options{
		Runs: func(int, int) []Run {
			return []Run{{ID: 1, State: RunRunning, Outcome: "running", Output: fmt.Append(nil, output.Load())}}
		},
		RunsChanged: func() <-chan struct{} {
			c := <-changed
			defer func() { changed <- c }()
			return c
		},
	})
	_, lines := run.events(t)
	for want := range int64(3) {
		if got := next(t, lines).Runs[0]; got.Output != fmt.Sprint(want) {
			t.Errorf("got %+v", got)
		}
		output.Add(1)
		close(<-changed)
		changed <- make(chan struct{})
	}
}
