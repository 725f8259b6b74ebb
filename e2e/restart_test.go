package e2e

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"syscall"
	"testing"
	"time"
)

// A restart of the service loses no request, though it has no socket unit: who connects
// meanwhile waits. A request that is under way when the service is killed cannot be saved.
func TestRestart(t *testing.T) {
	t.Parallel()
	h := bootHost(t)
	install(t, h)
	write(t, h.path("srv/www"), map[string]string{"index.html": "<p>here\n"})
	write(t, h.path("etc/systemd/system/execlogd.service.d"), map[string]string{"often.conf": "[Unit]\nStartLimitIntervalSec=0\n"})
	h.run("systemctl", "daemon-reload")
	h.run("systemctl", "start", "execlogd")

	t.Run("restart", func(t *testing.T) {
		testRestarts(t, h.in(t), func(h *lossHost) { h.run("systemctl", "restart", "execlogd") }, func(error) bool { return true })
	})
	t.Run("kill", func(t *testing.T) {
		testRestarts(t, h.in(t), faults["kill"], func(err error) bool { return errors.Is(err, syscall.ECONNREFUSED) })
	})
}

// testRestarts ends the service a few times, while requests are made. Errors of these that count
// are reported.
func testRestarts(t *testing.T, h *host, end func(*lossHost), counts func(error) bool) {
	service := &lossHost{host: h}
	service.ready()
	ctx, cancel := context.WithCancel(t.Context())
	var requesting sync.WaitGroup
	requesting.Go(func() {
		client := h.client()
		client.Transport.(*http.Transport).DisableKeepAlives = true
		requests := 0
		for ; ctx.Err() == nil; requests++ {
			if _, err := fetch(t.Context(), client, address+"/"); err != nil && counts(err) {
				t.Errorf("request %d: %v", requests, err)
			}
		}
		t.Log(fmt.Sprint(requests, " requests"))
	})

	for range 5 {
		end(service)
		service.ready()
		service.pause(100 * time.Millisecond)
	}
	cancel()
	requesting.Wait()
}
