package config

import (
	"strings"
	"testing"
	"time"
)

// wantMistake checks that a file has a mistake; none if that is empty.
func wantMistake(t *testing.T, text, want string) {
	t.Helper()
	dir := t.TempDir()
	cfg, wrong := parse("x.toml", dir, []byte(text))
	cfg.Path, cfg.namesRoot = dir+"/x.toml", true
	if len(wrong) == 0 {
		r := cfg.NewReport()
		cfg.Check(r)
		wrong = r.Mistakes()
	}
	got := ""
	if err := wrong.Err(); err != nil {
		got = err.Error()
	}
	if want == "" && got != "" || !strings.Contains(got, want) {
		t.Errorf("%s\n got %q\nwant %q", text, got, want)
	}
}

func TestBus(t *testing.T) {
	const table = "[bus]\nurl = 'nats://h'\n"
	tests := []struct {
		text string
		want string // the mistake; empty for none
	}{
		{"[server]\nshared = true\n" + table, ""},
		{"[server]\nshared = 'docs'\n" + table + "cluster = 'a-b_1'\n", ""},
		{table + "[[route]]\nname = 'r'\nrun = ['true']\n", ""},
		{table + "[server]\nshared = true\n[[route]]\nname = 'r'\nshared = true\nrun = ['true']\n", ""},
		{table + "[server]\n[[route]]\nname = 'r'\nroot = '/tmp'\nshared = true\nrun = ['true']\n", ""},
		{table + "[server]\nshared = true\n[[route]]\nname = 'r'\nroot = '/proc'\nshared = true\nrun = ['true']\n", "8:10: the root /proc is shared by the name \"site\", and so is"},
		{table + "[server]\nroot = '/usr'\nshared = true\n[[route]]\nname = 'r'\nroot = '/usr/lib'\nshared = 'lib'\nrun = ['true']\n", "9:10: the root /usr/lib is shared, and so is /usr"},
		{table + "[[route]]\nname = 'r'\nroot = '/etc/passwd'\nshared = 'r'\nrun = ['true']\n", "6:10: the root /etc/passwd is a file, and only directories are shared"},
		{table + "[server]\n[[site]]\nhost = 'a.localhost'\nroot = '/usr'\nshared = 'usr'\n", ""},
		{"[server]\n[[site]]\nhost = 'a.localhost'\nroot = '/usr'\nshared = 'usr'\n", "5:1: shared: there is no bus"},
		{"[[route]]\nname = 'r'\nshared = true\nrun = ['true']\n", "3:1: shared: there is no bus"},
		{"[server]\nshared = true\n", "2:1: shared: there is no bus"},
		{"[server]\nshared = true\nlivereload = false\n" + table, "nothing of the root is watched"},
		{"[server]\nshared = 'a b'\n" + table, `shared is "a b": want at most 64 letters`},
		{"[server]\nshared = 1\n" + table, "shared is 1: want at most 64 letters"},
		{"[server]\n[bus]\ncluster = 'a'\n", "2:2: bus: there is no url"},
		{"[server]\n[bus]\nurl = 'http://h'\n", `url is "http://h": want the URL of a NATS server`},
		{"[server]\n" + table + "cluster = 'a.b'\n", `cluster is "a.b"`},
		{"[server]\n" + table + "tls_cert = 'x.pem'\n", "belong together"},
		{"[server]\n" + table + "tls_ca = 'none.pem'\n", "tls_ca: open"},
		{"[server]\n" + table + "credentials = 'none.creds'\n", "credentials: open"},
		{"[server]\n" + table + "token = 'x'\n", `unknown key "token"`},
	}
	for _, tt := range tests {
		wantMistake(t, tt.text, tt.want)
	}
}

// A queue needs a bus, a command that ends, and nothing that is of one machine alone.
func TestQueueKeys(t *testing.T) {
	const table = "[bus]\nurl = 'nats://h'\n"
	cfg := mustParse(t, table+wrongRoute("queue = 'thumbs'\nwork = true\nack_wait = '90s'\nretries = 3\nper = 'file'\n"))
	if c := cfg.Routes[0]; c.Queue != "thumbs" || !c.Work || c.AckWait != 90*time.Second || c.Retries != 3 || !c.PerFile() {
		t.Errorf("the route is %+v", c)
	}
	cfg = mustParse(t, table+wrongRoute("queue = 'a-b_1'\n"))
	if c := cfg.Routes[0]; c.Queue != "a-b_1" || c.Work || c.AckWait != 0 {
		t.Errorf("without more keys the route is %+v", c)
	}

	const queue = "queue = 'q'\n"
	tests := []struct {
		text string
		want string // the mistake; empty for none
	}{
		{table + wrongRoute(queue+"ack_wait = '1s'"), ""},
		{table + wrongRoute(queue+"on_busy = 'queue'\nchanged_only = false\nservice = false"), ""},
		{table + wrongRoute(queue) + "[[route]]\nname = 'y'\nrun = ['y']\nqueue = 'r'\n", ""},
		{wrongRoute(queue), `x.toml:4:1: queue: there is no bus for the queue of route "x"`},
		{table + wrongRoute("queue = 'a.b'"), `x.toml:6:9: queue is "a.b": want at most 64 letters`},
		{table + wrongRoute("queue = '*'"), `x.toml:6:9: queue is "*": want at most 64 letters`},
		{table + wrongRoute("queue = true"), `x.toml:6:9: queue is true: want at most 64 letters`},
		{table + wrongRoute("work = true"), `x.toml:3:3: route "x" has work or ack_wait, which are for the jobs of a queue`},
		{table + wrongRoute("ack_wait = '1m'"), `x.toml:3:3: route "x" has work or ack_wait, which are for the jobs of a queue`},
		{table + wrongRoute(queue+"work = 'yes'"), `x.toml:7:8: work is "yes"`},
		{table + wrongRoute(queue+"ack_wait = '999ms'"), `x.toml:7:12: route "x" has an ack_wait of less than a second`},
		{table + wrongRoute(queue+"ack_wait = '0s'"), `x.toml:7:12: route "x" has an ack_wait of less than a second`},
		{table + wrongRoute(queue+"ack_wait = 3"), `x.toml:7:12: ack_wait is 3`},
		{table + wrongRoute(queue+"service = true"), `x.toml:6:9: route "x" has queue, and a program that goes on running`},
		{table + "[[route]]\nname = 'x'\nbuilder = 'hugo'\n" + queue, `x.toml:6:9: route "x" has queue, and a program that goes on running`},
		{"[server]\n" + table + "[[route]]\nname = 'x'\nreload = true\n" + queue, `x.toml:7:9: route "x" has queue and nothing to run`},
		{table + wrongRoute(queue+"changed_only = true"), `x.toml:7:16: route "x" has queue and changed_only`},
		{table + wrongRoute(queue+"on_busy = 'restart'"), `x.toml:7:11: route "x" has queue and on_busy`},
		{table + wrongRoute(queue+"on_busy = 'ignore'"), `x.toml:7:11: route "x" has queue and on_busy`},
		{table + wrongRoute(queue) + "[[route]]\nname = 'y'\nrun = ['y']\n" + queue, `x.toml:10:9: route "y": its queue "q" is that of route "x"`},
	}
	for _, tt := range tests {
		wantMistake(t, tt.text, tt.want)
	}
}

// No flag of run is for a queue: there is no file in which other machines have the command.
func TestRunHasNoQueue(t *testing.T) {
	for _, flag := range []string{"-queue=q", "-work", "-ack-wait=1s"} {
		if _, err := ParseRun("", "", []string{flag, "x"}); err == nil || !strings.Contains(err.Error(), "no flag") {
			t.Errorf("run %s: %v", flag, err)
		}
	}
}

func TestBusFlags(t *testing.T) {
	tests := []struct {
		args, want string
	}{
		{"-bus nats://h -shared", ""},
		{"-bus nats://h -shared=docs", ""},
		{"-shared", "-shared: there is no bus"},
		{"-bus h", "-bus is \"h\": want the URL"},
		{"-bus nats://h -shared -livereload=false", "-shared: nothing of the root is watched"},
	}
	for _, tt := range tests {
		cfg, _, err := Parse("execlogd", "", strings.Fields(tt.args))
		if got := ""; err != nil {
			if got = err.Error(); tt.want == "" || !strings.Contains(got, tt.want) {
				t.Errorf("%s: %q, want %q", tt.args, got, tt.want)
			}
		} else if tt.want != "" || len(cfg.SharedRoots()) != 1 {
			t.Errorf("%s: no error, want %q", tt.args, tt.want)
		}
	}
}
