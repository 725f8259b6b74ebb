package daemon

import sd "github.com/coreos/go-systemd/v22/daemon"

// notify tells systemd the state of the service (sd_notify(3)). Without NOTIFY_SOCKET it
// does nothing. An error is only logged: systemd decides what it means for the service.
func (d *daemon) notify(state string) {
	if _, err := sd.SdNotify(false, state); err != nil {
		d.log.Warn("systemd not told", "err", err)
	}
}
