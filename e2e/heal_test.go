package e2e

import (
	"os"
	"strings"
	"testing"
	"time"
)

// The service is started again whatever has ended it.
func TestUnitHeals(t *testing.T) {
	t.Parallel()
	h := bootHost(t)
	install(t, h)
	h.run("systemd-tmpfiles", "--create", "execlogd.conf")
	write(t, h.path("srv/www"), map[string]string{"index.html": "<p>zero\n"})
	// So that the test need not wait.
	write(t, h.path("etc/systemd/system/execlogd.service.d"), map[string]string{"quick.conf": "[Service]\nRestartSec=100ms\nWatchdogSec=5\n"})
	h.run("systemctl", "daemon-reload")

	t.Run("SIGHUP without a configuration does nothing", func(t *testing.T) { testReloadOfNothing(t, h.in(t)) })
	t.Run("it is killed, crashes and hangs", func(t *testing.T) { testCrashes(t, h.in(t)) })
	t.Run("its port is taken", func(t *testing.T) { testTakenPort(t, h.in(t)) })
	t.Run("its configuration is missing", func(t *testing.T) { testMissingConfiguration(t, h.in(t)) })
	t.Run("it is stopped while commands run", func(t *testing.T) { testStop(t, h.in(t)) })
}

// mainPID returns the process of the service; 0 is none.
func (h *host) mainPID() string {
	return h.run("systemctl", "show", "--property=MainPID", "--value", "execlogd")
}

// awaitActive waits until a process of the service is ready that is another than before.
func (h *host) awaitActive(before string) {
	h.t.Helper()
	state := ""
	if err := eventually(h.t.Context(), "the service to be active again", func() bool {
		state = h.run("systemctl", "show", "--property=ActiveState,SubState,MainPID", "execlogd")
		return strings.Contains(state, "SubState=running") && strings.Contains(state, "ActiveState=active") &&
			!strings.Contains(state, "MainPID="+before+"\n")
	}); err != nil {
		h.t.Fatalf("%v\n%s\n%s", err, state, h.run("journalctl", "--no-pager", "--unit=execlogd.*"))
	}
}

func testReloadOfNothing(t *testing.T, h *host) {
	h.run("systemctl", "start", "execlogd")
	pid := h.mainPID()
	h.run("systemctl", "reload", "execlogd")
	expectPage(t, h.client(), address+"/", "<p>zero\n")
	expect(t, "process after the reload", h.mainPID(), pid)
	h.run("systemctl", "stop", "execlogd")
	expectCleanEnd(t, h)
}

// Six kills within some seconds are no reason to give up, nor is a crash of Go's runtime, whose
// exit status is 2. A process that is frozen is ended by the watchdog.
func testCrashes(t *testing.T, h *host) {
	h.run("systemctl", "start", "execlogd.socket", "execlogd.service")
	for _, signal := range []string{"KILL", "KILL", "KILL", "KILL", "KILL", "KILL", "ABRT", "STOP"} {
		pid := h.mainPID()
		h.run("kill", "-"+signal, pid)
		h.awaitActive(pid)
	}
	expectPage(t, h.client(), address+"/", "<p>zero\n")
	h.run("systemctl", "is-active", "execlogd.socket")
	h.run("journalctl", "--sync")
	if said := h.run("journalctl", "--quiet", "--no-pager", "--output=cat", "--unit=execlogd"); !strings.Contains(said, "Watchdog timeout") {
		t.Errorf("the watchdog has not ended the frozen process:\n%s", said)
	}
	h.run("systemctl", "stop", "execlogd.socket", "execlogd.service")
}

func testTakenPort(t *testing.T, h *host) {
	h.run("systemd-run", "--unit=taker", "--service-type=notify", "/usr/local/bin/execlogd", "-root", "/usr/share")
	if out, err := h.command("systemctl", "start", "execlogd").CombinedOutput(); err == nil {
		t.Errorf("it starts although the port is taken:\n%s", out)
	}
	h.run("systemctl", "stop", "taker")
	h.awaitActive("0")
	expectPage(t, h.client(), address+"/", "<p>zero\n")
	h.run("systemctl", "stop", "execlogd")
}

func testMissingConfiguration(t *testing.T, h *host) {
	setOptions(t, h, "-config /etc/execlogd.toml")
	if out, err := h.command("systemctl", "start", "execlogd").CombinedOutput(); err == nil {
		t.Errorf("it starts without its configuration:\n%s", out)
	}
	write(t, h.path("etc"), map[string]string{"execlogd.toml": "[server]\nroot = \"/srv/www\"\n"})
	defer os.Remove(h.path("etc/execlogd.toml"))
	h.awaitActive("0")
	expectPage(t, h.client(), address+"/", "<p>zero\n")
	h.run("systemctl", "stop", "execlogd")
}

// At a stop commands end by their own rules, for which systemd waits as long as it takes.
func testStop(t *testing.T, h *host) {
	tests := []struct {
		says, route string
		least, most time.Duration
		done        string
	}{
		{"first", "shell = 'echo first; sleep 3; echo done >/srv/out/done'", 0, 6 * time.Second, "done"},
		{"second", "grace = '4s'\nshell = 'trap \"\" TERM; echo second; while :; do sleep 1; done'", 3500 * time.Millisecond, 9 * time.Second, ""},
	}
	for _, tt := range tests {
		write(t, h.path("/"), map[string]string{
			"etc/execlogd.toml": "[[route]]\nname = 'job'\nroot = '/srv/www'\nstart = true\n" + tt.route + "\n",
			"srv/out/done":      "",
			"etc/systemd/system/execlogd.service.d/stop.conf": "[Service]\nReadWritePaths=/srv/out\nTimeoutStopSec=2\n",
		})
		if err := os.Chmod(h.path("srv/out/done"), 0o666); err != nil {
			t.Fatal(err)
		}
		setOptions(t, h, "-config /etc/execlogd.toml")
		h.run("systemctl", "daemon-reload")
		h.run("systemctl", "start", "execlogd")
		h.run("timeout", "60", "sh", "-c", "until journalctl --unit=execlogd --output=cat | grep --quiet '"+tt.says+"$'; do sleep 0.05; done")
		begun := time.Now()
		h.run("systemctl", "stop", "execlogd")
		if took := time.Since(begun); took < tt.least || took > tt.most+maxWait/2 {
			t.Errorf("%s\nthe stop took %v", tt.route, took)
		} else {
			t.Logf("the stop took %v", took)
		}
		expect(t, "how it ended", h.run("systemctl", "show", "--property=Result,ExecMainStatus", "execlogd"), "Result=success\nExecMainStatus=0")
		expect(t, "what was done", h.run("cat", "/srv/out/done"), tt.done)
	}
	os.Remove(h.path("etc/execlogd.toml"))
	os.Remove(h.path("etc/systemd/system/execlogd.service.d/stop.conf"))
	h.run("systemctl", "daemon-reload")
}
