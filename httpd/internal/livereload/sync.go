package livereload

import (
	"encoding/json"
	"net/url"
	"time"
)

// What is relayed of what readers do (Config.Sync): events of so many bytes at most, so
// many a second of all pages together, with so many at once. What is more is dropped, as
// is the oldest of what waits for a page that does not read.
const (
	maxEvent        = 8 << 10
	eventsPerSecond = 200
	eventsAtOnce    = 400
	maxWaiting      = 64
)

// A syncMessage tells a page what a reader has done to it elsewhere.
type syncMessage struct {
	Command string          `json:"command"`
	Event   json.RawMessage `json:"event"`
}

// setAddress sets the address of a client's page, which is one of this server: the path
// below the top of the site, and the query of its URL. Devices may know the server by
// different names.
func (h *Hub) setAddress(c *client, path, href string) {
	u, err := url.Parse(href)
	if err != nil {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	c.address = path + "?" + u.RawQuery
}

// relay tells the other clients whose pages have the same address what the reader of one
// has done. It does not wait for them. What the event says is theirs to understand.
func (h *Hub) relay(from *client, event json.RawMessage) {
	if !h.config.Load().Sync || len(event) == 0 || len(event) > maxEvent {
		return
	}
	frame := encode(syncMessage{"sync", event})

	h.mu.Lock()
	defer h.mu.Unlock()
	const cost = time.Second / eventsPerSecond
	if from.address == "" || h.syncLimit.Take(cost, eventsAtOnce*cost) > 0 {
		return
	}
	for c := range h.clients {
		if c == from || c.address != from.address || c.reloading {
			continue
		}
		if len(c.events) == maxWaiting {
			c.events = c.events[1:]
		}
		c.events = append(c.events, frame)
		c.notify()
	}
}
