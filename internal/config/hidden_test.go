package config

import (
	"strings"
	"testing"
)

func TestIsHidden(t *testing.T) {
	const mounts = `1 0 0:1 / / ro,nosuid shared:1 - overlay overlay rw
2 1 0:2 / /home ro,nosuid,nodev - tmpfs tmpfs rw,mode=755
3 2 0:1 /home/ann/my\040site /home/ann/my\040site ro - overlay overlay rw
4 1 0:1 /systemd/inaccessible/dir /root ro - tmpfs tmpfs rw
5 1 0:3 /tmp/systemd-private-1f-execlogd.service-x/tmp /tmp rw shared:2 - ext4 /dev/sda rw
6 1 0:4 / /run rw,nosuid - tmpfs tmpfs rw
7 1 0:5 / /var/tmp ro - tmpfs tmpfs rw
8 1 0:1 /var/tmp /var/tmp rw - overlay overlay rw
`
	for path, want := range map[string]bool{
		"/home/ann":              true,
		"/home/ann/site/":        true,
		"/home/ann/my site/x":    false,
		"/homes":                 false,
		"/root/site":             true,
		"/tmp/site":              true,
		"/run/user":              false, // a tmpfs in which somebody may make it
		"/srv/www":               false,
		"/var/tmp/x":             false, // the later mount counts
		"/home/ann/my site/../y": true,
	} {
		if got := isHidden(strings.NewReader(mounts), path); got != want {
			t.Errorf("%s: %v, want %v", path, got, want)
		}
	}
}
