package daemon

import (
	"context"
	"fmt"
	"time"
)

// endWhenIdle ends the daemon when it has had nothing to do for as long as the active
// configuration says: no page was open, and no request was answered. While there are routes it
// always has something to do. It returns when ctx ends.
//
// A request that comes meanwhile is answered, or waits in the socket of systemd, which starts
// the daemon again.
func (d *daemon) endWhenIdle(ctx context.Context) error {
	for {
		wait := d.untilIdle()
		if wait == 0 {
			d.end(fmt.Errorf("nothing to do for %v", d.active.Load().IdleExit))
			<-ctx.Done()
			return nil
		}

		select {
		case <-time.After(wait):
		case <-d.reloaded:
		case <-ctx.Done():
			return nil
		}
	}
}

// untilIdle returns how long to wait before asking again whether the daemon has nothing to
// do; 0 if it has nothing to do now.
func (d *daemon) untilIdle() time.Duration {
	const never = 1<<63 - 1
	cfg := d.active.Load()
	if cfg.IdleExit == 0 || len(cfg.Routes) > 0 {
		return never
	}
	return max(cfg.IdleExit-d.idle(), 0)
}
