package livereload

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// shared is a page of our client with an address, and what it was told.
func (h *Hub) shared(path, href string) (c *client, told func() string) {
	c = h.opened(path)
	c.catchingUp = false
	h.setAddress(c, path, href)
	h.open(c, func() {})
	return c, func() string { return string(h.take(c)) }
}

func TestSyncIsForPagesWithOneAddress(t *testing.T) {
	h := New(Config{Sync: true}, nil)
	from, fromTold := h.shared("/a/", "http://localhost:8000/a/?q=1#top")
	_, phone := h.shared("/a/", "http://192.0.2.1:8000/a/?q=1")
	_, query := h.shared("/a/", "http://localhost:8000/a/")
	_, path := h.shared("/b/", "http://localhost:8000/b/?q=1")
	stock := h.join() // official-7, and of another server
	unplaced := h.join()
	unplaced.extended = true
	for _, told := range []func() string{fromTold, phone, query, path} {
		told() // its cursor
	}

	h.relay(from, []byte(`{"kind":"click"}`))
	const want = `{"command":"sync","event":{"kind":"click"}}`
	if got := phone(); !strings.HasSuffix(got, want) {
		t.Errorf("the phone got %q, want %s", got, want)
	}
	for name, told := range map[string]func() string{
		"itself": fromTold, "another query": query, "another path": path, "the phone again": phone,
		"a stock client": func() string { return string(h.take(stock)) }, "a page from elsewhere": func() string { return string(h.take(unplaced)) },
	} {
		if got := told(); strings.Contains(got, "sync") {
			t.Errorf("%s got %q", name, got)
		}
	}

	h.relay(unplaced, []byte(`{"kind":"click"}`)) // it has no address, and neither have others
	h.relay(from, []byte(`"`+strings.Repeat("x", maxEvent)+`"`))
	h.config.Store(&Config{})
	h.relay(from, []byte(`{"kind":"click"}`))
	for name, told := range map[string]func() string{"the phone": phone, "a page from elsewhere": func() string { return string(h.take(unplaced)) }} {
		if got := told(); strings.Contains(got, "sync") {
			t.Errorf("%s got %q", name, got)
		}
	}
}

// Who sends without end is not relayed without end, and who does not read gets the last.
func TestSyncIsLimited(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := New(Config{Sync: true}, nil)
		from, _ := h.shared("/", "http://h/")
		_, told := h.shared("/", "http://h/")
		told()
		send := func(from_, to int) {
			for i := from_; i < to; i++ {
				h.relay(from, fmt.Appendf(nil, `{"n":%d}`, i))
			}
		}
		send(0, 10*eventsAtOnce)
		got := told()
		if n := strings.Count(got, `"sync"`); n != maxWaiting || !strings.HasSuffix(got, fmt.Sprintf(`{"n":%d}}`, eventsAtOnce-1)) {
			t.Errorf("it got %d events, the last of %q", n, got[len(got)-50:])
		}
		send(0, 1)
		if got := told(); got != "" {
			t.Errorf("more than the limit was relayed: %q", got)
		}
		time.Sleep(time.Second)
		send(0, 2*eventsPerSecond)
		if got := told(); !strings.HasSuffix(got, fmt.Sprintf(`{"n":%d}}`, eventsPerSecond-1)) {
			t.Errorf("after a second: %q", got[len(got)-50:])
		}
	})
}
