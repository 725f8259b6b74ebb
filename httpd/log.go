package httpd

import (
	"context"
	"log/slog"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/execlog/execlogd/httpd/internal/ratelimit"
)

// A logKind is a kind of log line that whoever can connect may cause as often as
// he likes.
type logKind struct {
	level   slog.Level
	message string
	burst   int
}

var (
	hostRefused     = logKind{slog.LevelInfo, "host refused", logBurst}
	originRefused   = logKind{slog.LevelInfo, "origin refused", logBurst}
	linkLeadsOut    = logKind{slog.LevelInfo, "link leads out of the root", logPolicyBurst}
	ruleIgnored     = logKind{slog.LevelWarn, "rule ignored", logPolicyBurst}
	workerMissing   = logKind{slog.LevelInfo, "a browser has a service worker of another project", logBurst}
	scriptNotLoaded = logKind{slog.LevelWarn, "page does not load the script for live reload", logBurst}
	policyInPage    = logKind{slog.LevelWarn, "page's policy blocks live reload", logPolicyBurst} // found in a file
	policyReported  = logKind{slog.LevelWarn, "page's policy blocks live reload", logBurst}       // by a page
	pageEncoded     = logKind{slog.LevelInfo, "page has no script for live reload, as its content is encoded", logPolicyBurst}
	upstreamFailed  = logKind{slog.LevelWarn, "upstream does not answer", 1} // a state, mostly
	noDescriptor    = logKind{slog.LevelWarn, "no file descriptor left", 1}  // a state, not a fault of each request
	tooManyConns    = logKind{slog.LevelWarn, "connections refused: there are too many", 1}
	notAccepted     = logKind{slog.LevelError, "connection not accepted", logBurst}
	fileUnreadable  = logKind{slog.LevelError, "file unreadable", logBurst}
	pageNotRendered = logKind{slog.LevelError, "page not rendered", logBurst}
	certRefused     = logKind{slog.LevelInfo, "a client does not trust the certificate", 1} // a browser tries it many times
	handlerPanicked = logKind{slog.LevelError, "request panicked", logBurst}
)

// Of each kind a burst of lines is logged at once, and then one in each interval. The
// burst of policies in pages is larger: each is logged once anyway, and the author of
// the pages wants to know of all of them.
const (
	logBurst       = 5
	logPolicyBurst = 50
	logInterval    = time.Minute
)

// logLimits limits the log lines of each kind. Lines that are left out are counted,
// and the next line of their kind says how many they were; logRest says so at the
// end. The zero logLimits has logged nothing.
type logLimits struct {
	mu    sync.Mutex
	kinds map[logKind]logLimit
}

type logLimit struct {
	ratelimit.Bucket
	suppressed int // lines since the last that was logged
}

// logLimited logs a line if there is room for one of its kind, and reports whether it
// did. Args are as in [slog.Logger.Log].
func (s *handler) logLimited(kind logKind, args ...any) bool {
	if !s.log.Enabled(context.Background(), kind.level) {
		return false
	}
	suppressed, ok := s.limits.admit(kind)
	if !ok {
		return false
	}

	if suppressed > 0 {
		args = append(args, "suppressed", suppressed)
	}
	s.log.Log(context.Background(), kind.level, kind.message, args...)
	return true
}

// admit reports whether a line may be logged, and how many of its kind were left out
// before it.
func (l *logLimits) admit(kind logKind) (suppressed int, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	limit := l.kinds[kind]
	ok = limit.Take(logInterval, time.Duration(kind.burst)*logInterval) == 0
	if ok {
		suppressed, limit.suppressed = limit.suppressed, 0
	} else {
		limit.suppressed++
	}

	if l.kinds == nil {
		l.kinds = make(map[logKind]logLimit)
	}
	l.kinds[kind] = limit
	return suppressed, ok
}

// logRest logs how many lines of each kind were left out since its last one.
func (s *handler) logRest() {
	s.limits.mu.Lock()
	kinds := s.limits.kinds
	s.limits.kinds = nil
	s.limits.mu.Unlock()

	for kind, limit := range kinds {
		if limit.suppressed > 0 {
			s.log.Log(context.Background(), kind.level, kind.message, "suppressed", limit.suppressed)
		}
	}
}

// An errorLog receives what an http.Server logs about connections.
type errorLog struct{ server *Server }

// Write logs one message. Most are about a client that does not speak HTTP; those
// that are about a fault of ours or of the machine are known by how they begin.
func (l errorLog) Write(text []byte) (int, error) {
	s := l.server.current.Load()
	line := strings.TrimSuffix(string(text), "\n")

	if err, ok := strings.CutPrefix(line, "http: Accept error: "); ok {
		kind := notAccepted
		if strings.Contains(err, syscall.EMFILE.Error()) || strings.Contains(err, syscall.ENFILE.Error()) {
			kind = noDescriptor // it is tried again
		}
		s.logLimited(kind, "err", err)
	} else if what, ok := strings.CutPrefix(line, "http: panic serving "); ok {
		err, stack, _ := strings.Cut(what, "\n")
		s.logLimited(handlerPanicked, "err", err, "stack", stack)
	} else if what, ok := strings.CutPrefix(line, "http: TLS handshake error from "); ok && refusesCertificate(what) {
		remote, _, _ := strings.Cut(what, ": ")
		s.logLimited(certRefused, "remote", remote)
	} else {
		s.log.Debug(line)
	}

	return len(text), nil
}

// clip shortens what a client sent to what belongs into a log.
func clip(s string) string {
	return s[:min(len(s), 256)]
}
