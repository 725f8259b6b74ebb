package httpd

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/execlog/execlogd/httpd/internal/ratelimit"
)

// A logKind is a kind of log line that whoever can connect may cause, as often
// as he likes.
type logKind int

const (
	hostRefused logKind = iota
	originRefused
	policyInPage   // found in a file
	policyReported // by a page
	noDescriptor
	notAccepted // connections
	fileUnreadable
	pageNotRendered
	handlerPanicked
	logKinds // how many there are
)

// Of each kind so many lines are logged at once, and then one in each interval.
// Policies in pages are more: each is logged once, and whoever writes the pages
// wants to know of all of them.
const (
	logBurst       = 5
	logPolicyBurst = 50
	logInterval    = time.Minute
)

// logLines are what is the same for all lines of a kind.
var logLines = [logKinds]struct {
	level   slog.Level
	message string
	burst   int
}{
	hostRefused:     {slog.LevelInfo, "host refused", logBurst},
	originRefused:   {slog.LevelInfo, "origin refused", logBurst},
	policyInPage:    {slog.LevelWarn, "page's policy blocks live reload", logPolicyBurst},
	policyReported:  {slog.LevelWarn, "page's policy blocks live reload", logBurst},
	noDescriptor:    {slog.LevelError, "no file descriptor left", logBurst},
	notAccepted:     {slog.LevelError, "connection not accepted", logBurst},
	fileUnreadable:  {slog.LevelError, "file unreadable", logBurst},
	pageNotRendered: {slog.LevelError, "page not rendered", logBurst},
	handlerPanicked: {slog.LevelError, "request panicked", logBurst},
}

// logLimits limits the log lines of each kind. Those that are left out are
// counted, and the next line of their kind says how many they were. It has no
// timer: when none comes any more, logRest says so. The zero logLimits has logged
// nothing yet.
type logLimits struct {
	mu    sync.Mutex
	kinds [logKinds]struct {
		ratelimit.Bucket
		suppressed int // lines since the last that was logged
	}
}

// logLimited logs a line, if there is room for one of its kind, and says whether
// it did. Args are as in [slog.Logger.Log].
func (s *Server) logLimited(log *slog.Logger, kind logKind, args ...any) bool {
	line := logLines[kind]
	if !log.Enabled(context.Background(), line.level) {
		return false
	}
	suppressed, ok := s.limits.admit(kind)
	if !ok {
		return false
	}
	if suppressed > 0 {
		args = append(args, "suppressed", suppressed)
	}
	log.Log(context.Background(), line.level, line.message, args...)
	return true
}

// admit says whether a line may be logged, and how many of its kind were left out
// before it.
func (l *logLimits) admit(kind logKind) (suppressed int, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	k := &l.kinds[kind]
	if k.Take(logInterval, time.Duration(logLines[kind].burst)*logInterval) > 0 {
		k.suppressed++
		return 0, false
	}
	suppressed, k.suppressed = k.suppressed, 0
	return suppressed, true
}

// logRest says how many lines were left out since the last of each kind.
func (s *Server) logRest(log *slog.Logger) {
	s.limits.mu.Lock()
	kinds := s.limits.kinds
	for i := range kinds {
		s.limits.kinds[i].suppressed = 0
	}
	s.limits.mu.Unlock()
	for kind, k := range kinds {
		if k.suppressed > 0 {
			line := logLines[kind]
			log.Log(context.Background(), line.level, line.message, "suppressed", k.suppressed)
		}
	}
}
