package inotify

import (
	"errors"
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

func TestLimitText(t *testing.T) {
	tests := []struct {
		err  LimitError
		want string
	}{
		{
			LimitError{Limit: "fs.inotify.max_user_watches", Value: 8192, Needed: 20000, Root: "/srv/www", Err: unix.ENOSPC},
			"no inotify watch left for /srv/www: it has 20000 directories, and fs.inotify.max_user_watches=8192 counts all programs of this user; raise it: sysctl fs.inotify.max_user_watches=56384; for good in /etc/sysctl.d/60-inotify.conf",
		},
		{
			LimitError{Limit: "user.max_inotify_watches", Value: 5, Needed: 9, Root: "/srv/my files", Err: unix.ENOSPC},
			`no inotify watch left for "/srv/my files": it has 9 directories, and user.max_inotify_watches=5 counts all programs of this user; raise it: sysctl user.max_inotify_watches=8192`,
		},
		{
			LimitError{Limit: "fs.inotify.max_user_watches", Value: 97656, Needed: 10, Root: "/srv/www", Err: unix.ENOSPC, Owner: "root"},
			"no inotify watch left for /srv/www: it has 10 directories, and fs.inotify.max_user_watches=97656 counts all programs of root, who made this user namespace (PrivateUsers= of systemd, or a container); raise it on the host: sysctl fs.inotify.max_user_watches=195332; for good in /etc/sysctl.d/60-inotify.conf",
		},
		{
			LimitError{Limit: "fs.inotify.max_user_watches", Value: -1, Root: "/srv/www/a.html", Err: unix.ENOSPC},
			"no inotify watch left for /srv/www/a.html: fs.inotify.max_user_watches counts all programs of this user; raise it: sysctl fs.inotify.max_user_watches=1048576; for good in /etc/sysctl.d/60-inotify.conf",
		},
		{
			LimitError{Limit: "fs.inotify.max_user_instances", Value: 128, Err: unix.EMFILE},
			"no inotify instance left: all programs of this user have all of fs.inotify.max_user_instances=128 in use; raise it: sysctl fs.inotify.max_user_instances=512; for good in /etc/sysctl.d/60-inotify.conf",
		},
	}
	for _, tt := range tests {
		if got := tt.err.Error(); got != tt.want {
			t.Errorf("got\n%s\nwant\n%s", got, tt.want)
		}
	}
}

func TestInstanceLimit(t *testing.T) {
	if !inSubprocess(t, userNamespace()) {
		return
	}
	must(t, os.WriteFile("/proc/sys/user/max_inotify_instances", []byte("1"), 0))
	openWatcher(t)
	_, err := New(Options{})
	limit, ok := errors.AsType[*LimitError](err)
	if !ok || *limit != (LimitError{Limit: "user.max_inotify_instances", Value: 1, Err: unix.EMFILE}) {
		t.Errorf("a second instance: %#v", err)
	}
}
