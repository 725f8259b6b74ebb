package main

import (
	"fmt"

	sd "github.com/coreos/go-systemd/v22/daemon"
)

// notify tells systemd how the service is (sd_notify(3)). It does nothing
// when nobody asked (NOTIFY_SOCKET).
func notify(state string) error {
	if _, err := sd.SdNotify(false, state); err != nil {
		return fmt.Errorf("notify systemd: %w", err)
	}
	return nil
}
