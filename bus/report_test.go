package bus

import (
	"encoding/json"
	"fmt"
	"slices"
	"testing"
)

// The last reports are kept for the server, and none that no message holds.
func TestReportsAreBounded(t *testing.T) {
	b, err := New(Options{URL: "nats://h"})
	if err != nil {
		t.Fatal(err)
	}
	for i := range maxReports + 10 {
		b.Report(json.RawMessage(fmt.Sprint(i)))
	}
	b.Report(make(json.RawMessage, maxReport+1))
	all := b.reports.take()
	if len(all) != maxReports || string(all[0]) != "10" || string(all[maxReports-1]) != fmt.Sprint(maxReports+9) {
		t.Errorf("%d are kept, from %s to %s", len(all), all[0], all[len(all)-1])
	}
	if again := b.reports.take(); len(again) != 0 {
		t.Errorf("%d were taken twice", len(again))
	}

	// What the server has not taken comes before what came meanwhile, counts, and is tried again
	// without a further report.
	b.Report(json.RawMessage("new"))
	<-b.reports.filled
	b.reports.putBack(all)
	if len(b.reports.filled) != 1 {
		t.Error("what was put back waits for a further report")
	}
	if all := b.reports.take(); len(all) != maxReports || string(all[0]) != "11" || string(all[maxReports-1]) != "new" {
		t.Errorf("after one more %d are kept, from %s to %s", len(all), all[0], all[len(all)-1])
	}
}

// What nobody sends is dropped, and ends no job.
func TestHearReport(t *testing.T) {
	var reported []Report
	b, err := New(Options{URL: "nats://h", Machine: "here", Reported: func(r Report) { reported = append(reported, r) }})
	if err != nil {
		t.Fatal(err)
	}
	const done = "execlogd.default.done.q.key"
	w := b.waiters.add("q", "key", nil)
	b.waiters.setNumber(w, 5)
	junk := []string{
		"", "junk", "null", "[]", "{}", `{"v":2,"n":9,"s":"done"}`,
		`{"v":1,"n":9}`, `{"v":1,"n":9,"s":"won"}`, `{"v":1,"s":"done"}`, `{"v":1,"s":"dead","n":-3}`,
	}
	for _, data := range junk {
		b.hearReport(done, []byte(data))
	}
	if n := b.Stats().Junk; n != uint64(len(junk)) || len(reported) != 0 {
		t.Errorf("%d messages are junk, want %d; reported %v", n, len(junk), reported)
	}
	b.hearReport(done, []byte(`{"v":1,"m":"there","n":5,"s":"again","r":"body"}`))
	if got := w.result(); got != 0 {
		t.Errorf("its job is over by %d", got)
	}
	b.hearReport(done, []byte(`{"v":1,"m":"there","n":5,"s":"done"}`))
	if got := w.result(); got != 5 {
		t.Error("its job is not over")
	}
	b.hearReport("execlogd.default.runs.x.own", fmt.Appendf(nil, `{"v":1,"m":"here","i":%q,"r":{}}`, b.machine))

	var got []string
	for _, r := range reported {
		got = append(got, fmt.Sprintf("%s %s %v %s", r.Machine, r.Queue, r.Own, r.Body))
	}
	if want := []string{`there q false "body"`, "here  true {}"}; !slices.Equal(got, want) {
		t.Errorf("reported %q, want %q", got, want)
	}
}
