package daemon

import sd "github.com/coreos/go-systemd/v22/daemon"

// notify tells systemd how the service is (sd_notify(3)). It does nothing
// when nobody asked (NOTIFY_SOCKET). When systemd cannot be told, it is for
// systemd to decide what becomes of the service.
func (d *daemon) notify(state string) {
	if _, err := sd.SdNotify(false, state); err != nil {
		d.log.Warn("systemd not told", "err", err)
	}
}
