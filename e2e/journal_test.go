package e2e

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
)

// What the service logs is found in the journal: by unit, by priority, by the IDs of messages
// and by fields. A job's output, and a journald that is frozen, keep nobody from that.
func TestJournal(t *testing.T) {
	t.Parallel()
	h := bootHost(t)
	install(t, h)
	h.run("systemd-tmpfiles", "--create", "execlogd.conf")
	h.run("systemctl", "daemon-reload")
	write(t, h.path("srv/www"), map[string]string{"index.html": "x"})
	h.run("journalctl", "--update-catalog")
	write(t, h.path("etc"), map[string]string{"execlogd.toml": `
		[server]
		root = "/srv/www"
		[[route]]
		name = "chatty"
		root = "/srv/www"
		match = "*.chatty"
		run = ["seq", "100000"]
		[[route]]
		name = "wide"
		root = "/srv/www"
		match = "*.wide"
		run = ["seq", "--format=%01000.0f", "1000"]
		[[route]]
		name = "broken"
		root = "/srv/www"
		match = "*.broken"
		shell = "echo why; exit 3"
		`})
	setOptions(t, h, "-config /etc/execlogd.toml")

	t.Run("entries have priorities, IDs and fields", func(t *testing.T) { testEntries(t, h.in(t)) })
	t.Run("a refused configuration fails the reload", func(t *testing.T) { testRefusedReload(t, h.in(t)) })
	setOptions(t, h, "-config /etc/execlogd.toml")
	t.Run("a job writes much", func(t *testing.T) { testMuchOutput(t, h.in(t)) })
	t.Run("journald is frozen", func(t *testing.T) { testFrozenJournal(t, h.in(t)) })
	t.Run("an error ends it at once", func(t *testing.T) { testFatalEntry(t, h.in(t)) })
}

func testEntries(t *testing.T, h *host) {
	h.run("systemctl", "start", "execlogd")
	h.trigger("broken", 1)
	h.command("curl", "--silent", "--header", "Host: evil.example", address+"/").Run()
	h.run("systemctl", "stop", "execlogd")

	for _, e := range h.entries("_COMM=execlogd") {
		if e["_TRANSPORT"] != "journal" || strings.Contains(e.text(), "msg=") || strings.Contains(e.text(), "time=") {
			t.Errorf("an entry is not one of ours: %v", e)
		}
	}
	for id, want := range map[string]string{
		"101e81f4d17742e2bc5dc2b80312950e": "6 started: serving /srv/www on http://127.0.0.1:8000/, 3 routes, watching 1 directory",
		"b2b2c64274cc4323835ca08aac1a9bd8": "6 stopped took=",
		"2b39543c41754a3a849565b4c6a13bf4": `3 broken: failed: sh -c "echo why; exit 3": exit status 3 path=/srv/www/1.broken took=`,
		"6d2a4134849e46a0b33a04c67a0d6408": "6 host refused host=evil.example remote=127.0.0.1:",
	} {
		all := h.entries("MESSAGE_ID=" + id)
		if len(all) != 1 || !strings.HasPrefix(fmt.Sprint(all[0]["PRIORITY"], " ", all[0].text()), want) {
			t.Errorf("with the ID %s: got %v, want one with %q", id, all, want)
		}
		if said := h.run("journalctl", "--quiet", "--no-pager", "--catalog", "MESSAGE_ID="+id); !strings.Contains(said, "Defined-By: execlogd") {
			t.Errorf("journalctl -x does not explain %s:\n%s", id, said)
		}
	}
	errors := h.entries("--priority=err")
	if len(errors) != 1 || errors[0]["EXECLOGD_ROUTE"] != "broken" || errors[0]["EXECLOGD_EXIT_STATUS"] != "3" || errors[0]["EXECLOGD_PATH"] != "/srv/www/1.broken" {
		t.Errorf("errors: %v", errors)
	}
}

// systemctl reload fails if the daemon refuses the file, and has its result if it does not. It
// works without a file, and with a control socket elsewhere.
func testRefusedReload(t *testing.T, h *host) {
	h.run("systemctl", "start", "execlogd")
	config := h.run("cat", "/etc/execlogd.toml")
	defer write(t, h.path("etc"), map[string]string{"execlogd.toml": config})
	reload := func(text string) error {
		write(t, h.path("etc"), map[string]string{"execlogd.toml": text})
		return h.command("systemctl", "reload", "execlogd").Run()
	}

	if err := reload(strings.Replace(config, `root = "/srv/www"`, `root = "/srv/no"`, 1)); err == nil {
		t.Error("systemctl reload says that a wrong file is loaded")
	}
	expectPage(t, h.client(), address+"/", "x")
	const why = `/etc/execlogd.toml:2:10: root "/srv/no" does not exist: create it, or name another`
	if status := h.run("systemctl", "show", "--property=StatusText,ActiveState", "execlogd"); !strings.Contains(status, why) || !strings.Contains(status, "ActiveState=active") {
		t.Errorf("the status: %s", status)
	}
	if all := h.entries("MESSAGE_ID=67007c92fda04c9bb8ea3eb9f7a336ec", "--priority=err"); len(all) != 1 || all[0]["EXECLOGD_ERR"] != why {
		t.Errorf("the journal: %v", all)
	}

	other := "control = '/run/execlogd/other.sock'\n" + config + "\n[[route]]\nname = 'more'\nroot = '/srv/www'\nrun = ['true']\n"
	if err := reload(other); err != nil {
		t.Error("a right file:", err)
	}
	h.run("execlogd", "trigger", "-control", "/run/execlogd/other.sock", "more")
	if status := h.run("systemctl", "show", "--property=StatusText", "execlogd"); strings.Contains(status, why) || !strings.Contains(status, "4 routes") {
		t.Errorf("the status after a right file: %s", status)
	}
	if err := reload(config); err != nil {
		t.Error("with another control socket:", err)
	}
	h.run("systemctl", "stop", "execlogd")

	setOptions(t, h, "-root /srv/www")
	h.run("systemctl", "start", "execlogd")
	h.run("systemctl", "reload", "execlogd")
	expectPage(t, h.client(), address+"/", "x")
	h.run("systemctl", "stop", "execlogd")
}

func testMuchOutput(t *testing.T, h *host) {
	h.run("systemctl", "start", "execlogd")
	h.trigger("chatty", 1)
	h.run("systemctl", "stop", "execlogd")
	all := slices.DeleteFunc(h.entries("EXECLOGD_ROUTE=chatty"), func(e journalEntry) bool { return strings.Contains(e.text(), "no file matches") })
	if len(all) != 1002 {
		t.Fatalf("%d entries", len(all))
	}
	if last := all[1000]; last["MESSAGE_ID"] != "4cb601b81902433fb63024fa27aa19fe" || last["EXECLOGD_LINES"] != "99000" || !strings.Contains(last.text(), "execlogd log -json") {
		t.Errorf("after the output: %v", last)
	}
	if result := all[1001].text(); !strings.HasPrefix(result, "chatty: done path=/srv/www/1.chatty") {
		t.Errorf("the result: %s", result)
	}
}

func testFrozenJournal(t *testing.T, h *host) {
	h.run("systemctl", "start", "execlogd")
	journald := h.run("systemctl", "show", "--property=MainPID", "--value", "systemd-journald")
	h.run("kill", "-STOP", journald)
	defer h.run("kill", "-CONT", journald)

	for i := range 10 {
		h.trigger("wide", i)
	}
	expectPage(t, h.client(), address+"/", "x")
	h.run("kill", "-CONT", journald)
	h.run("timeout", "30", "sh", "-c", "until journalctl --quiet MESSAGE_ID=9d1b3397a6094f3abc8195ca32214cd6 | grep --quiet messages=; do sleep 0.05; done")
	h.run("kill", "-STOP", journald)

	// It ends, although nobody takes the entries that say so.
	for i := range 10 {
		h.trigger("wide", i)
	}
	h.run("timeout", "20", "systemctl", "stop", "execlogd")
	expect(t, "how it ended", h.run("systemctl", "show", "--property=Result,ExecMainStatus", "execlogd"), "Result=success\nExecMainStatus=0")
}

func testFatalEntry(t *testing.T, h *host) {
	setOptions(t, h, "-config /etc/nothing.toml")
	for i := range 5 {
		if err := h.command("systemctl", "start", "execlogd").Run(); err == nil {
			t.Fatal("it starts without its configuration")
		}
		h.run("systemctl", "stop", "execlogd")                       // and does not try again
		_ = h.command("systemctl", "reset-failed", "execlogd").Run() // if it is loaded
		const why = "config: stat /etc/nothing.toml: no such file or directory"
		all := h.entries("--priority=err", "MESSAGE_ID=fb037e3df9ef4a69b3d5455aa2f7646c", "EXECLOGD_ERR="+why)
		if len(all) < i+1 || all[i].text() != "fatal error: "+why {
			t.Fatalf("at start %d: %v", i, all)
		}
	}
}

// trigger has a route of TestJournal run for a file of this number, and waits for the end.
func (h *host) trigger(route string, number int) {
	h.t.Helper()
	name := fmt.Sprintf("%d.%s", number, route)
	h.run("sh", "-c", "timeout 30 execlogd trigger "+route+" /srv/www/"+name+" || [ $? = 3 ]")
}

// A journalEntry is an entry of the journal, by its fields.
type journalEntry map[string]any

func (e journalEntry) text() string { return fmt.Sprint(e["MESSAGE"]) }

// entries returns the entries of the service that match, in their order.
func (h *host) entries(match ...string) (all []journalEntry) {
	h.t.Helper()
	h.run("journalctl", "--sync")
	out := h.run(append([]string{"journalctl", "--quiet", "--no-pager", "--output=json", "--unit=execlogd"}, match...)...)
	for line := range strings.Lines(out) {
		var e journalEntry
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			h.t.Fatal(err)
		}
		all = append(all, e)
	}
	return all
}
