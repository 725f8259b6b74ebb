package daemon

import (
	"context"
	"errors"

	"github.com/execlog/execlogd/internal/browser"
)

// openAtStart opens the site in a browser if that is asked for, and waits until ctx ends.
func (d *daemon) openAtStart(ctx context.Context) error {
	if d.active.Load().Open {
		if err := d.openBrowser(ctx); err != nil {
			d.log.Warn("browser not opened", "err", err)
		}
	}
	return waitFor(ctx)
}

// openBrowser opens the site in the browser of the user.
func (d *daemon) openBrowser(ctx context.Context) error {
	if cfg := d.active.Load(); cfg.Serve && !cfg.Static && len(cfg.Proxies) == 0 {
		return errors.New("the pages are those of another server: open its address")
	}
	for _, ln := range d.web.sockets() {
		if at := siteURL(ln); at != "/" {
			return browser.Open(ctx, at)
		}
	}
	return errors.New("no site is served at an address for browsers")
}
