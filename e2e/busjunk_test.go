package e2e

import (
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"
)

// Whatever is on the subjects of jobs, no command runs for anything but a path below the root
// of the queue, and what comes afterwards is done.
func TestQueueJunk(t *testing.T) {
	t.Parallel()
	server := startNATS(t)
	pictures, outside, dir := t.TempDir(), t.TempDir(), t.TempDir()
	write(t, outside, map[string]string{"x.txt": "secret"})
	for link, to := range map[string]string{"out": outside, "link.txt": filepath.Join(outside, "x.txt")} {
		if err := os.Symlink(to, filepath.Join(pictures, link)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(pictures, filepath.Join(dir, "pictures")); err != nil {
		t.Fatal(err)
	}
	ran := filepath.Join(t.TempDir(), "ran")
	config := "metrics = \"127.0.0.1:0\"\n" + queueConfig(server.url(), fmt.Sprintf("work = true\nshell = 'echo \"$EXECLOGD_PATH\" >>%s'", ran))
	write(t, dir, map[string]string{"execlogd.toml": config})
	d, err := startDaemon(t, dir, "-config", "execlogd.toml", "-control", "control.sock", "-log-format", "text")
	if err != nil {
		t.Fatal(err)
	}
	d.says(t, "bus is connected", 1)
	metric := func(name string) int { return int(scrapeMetrics(t, metricsAddress(t, d))[name]) }

	conn, err := nats.Connect(server.url())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	job := func(path string) string {
		return fmt.Sprintf(`{"v":1,"m":"x","e":[{"p":%q,"o":2,"s":{}}]}`, base64.StdEncoding.EncodeToString([]byte(path)))
	}
	junk := []string{"", "junk", "[]", "{}", job("../x.txt"), job("/etc/passwd"), job(outside + "/x.txt"), job("a/../../x.txt"), strings.Repeat("x", 200<<10)}
	for i, data := range junk {
		for _, kind := range []string{"jobs", "dead", "done", "working"} {
			if err := conn.Publish(fmt.Sprintf("execlogd.default.%s.thumbs.junk%d", kind, i), []byte(data)); err != nil {
				t.Fatal(err)
			}
		}
	}
	links := []string{"out/x.txt", "out", "link.txt"}
	for i, path := range links { // what leads out of the root by a link
		for _, kind := range []string{"jobs", "dead"} {
			if err := conn.Publish(fmt.Sprintf("execlogd.default.%s.thumbs.link%d", kind, i), []byte(job(path))); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := conn.Flush(); err != nil {
		t.Fatal(err)
	}

	// Each message of jobs, done and working is junk. Dead jobs are looked at when somebody asks.
	// Jobs for what leads out of the root fail.
	d.says(t, "is not of execlogd", 1)
	err = eventually(t.Context(), "all junk to be counted", func() bool {
		return metric("execlogd_bus_junk_total") == 3*len(junk) && metric("execlogd_jobs_dead_total") == len(links)
	})
	if err != nil {
		t.Errorf("%v: %d messages are junk, want %d; %d jobs are dead, want %d", err,
			metric("execlogd_bus_junk_total"), 3*len(junk), metric("execlogd_jobs_dead_total"), len(links))
	}
	out, status := askDaemon(t, dir, "log", "-dead")
	if n := strings.Count(out, "path escapes from parent"); status != 0 || n != len(links) || strings.Contains(out, "passwd") {
		t.Errorf("%d jobs have failed, want %d: status %d: %s", n, len(links), status, out)
	}
	for id := range len(junk) {
		if out, status := askDaemon(t, dir, "retry", fmt.Sprint(id+1)); status != 1 || !strings.Contains(out, "no dead job has this ID") {
			t.Errorf("retry of junk: status %d: %s", status, out)
		}
	}
	if out, status := askDaemon(t, dir, "retry", deadID(out)); status != 1 || !strings.Contains(out, "path escapes from parent") {
		t.Errorf("retry of a job that leads out of the root: status %d: %s", status, out)
	}

	write(t, pictures, map[string]string{"good.txt": ""})
	d.says(t, `job ok.*good\.txt`, 1)
	if got := contentOf(ran); strings.Count(got, "\n") != 1 || !strings.HasSuffix(got, "/good.txt\n") {
		t.Errorf("it has run for %q, want good.txt alone", got)
	}
	if n := strings.Count(d.stderr.String(), "is not of execlogd"); n != 1 {
		t.Errorf("it has said %d times that there is junk", n)
	}
}
