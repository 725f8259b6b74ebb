package httpd

import (
	"net/http"
	"time"
)

// An http2Writer gives up an answer of HTTP/2 whose client takes nothing of it for a while,
// as TCP_USER_TIMEOUT does for a connection: such a client acknowledges what the kernel sends,
// and leaves the window of the stream (RFC 9113, 5.2) closed.
//
// Deadlines are those of writing, as in HTTP/1.1. Without it, net/http resets a stream of
// HTTP/2 when a deadline passes, also where nothing is being written.
type http2Writer struct {
	http.ResponseWriter
	stream  *http.ResponseController
	timeout time.Duration
	own     time.Time // the deadline that the handler has set; zero for none
}

// newHTTP2Writer returns a writer for an answer. end must be called when that is written: what
// is still in the buffers then has the time as well.
func newHTTP2Writer(w http.ResponseWriter, timeout time.Duration) (_ http.ResponseWriter, end func()) {
	paced := &http2Writer{ResponseWriter: w, stream: http.NewResponseController(w), timeout: timeout}
	return paced, func() {
		paced.own = time.Time{}
		paced.extend()
	}
}

// extend gives the client as much time again, or what the handler has set. If it fails, there
// is no stream any more.
func (w *http2Writer) extend() {
	deadline := w.own
	if deadline.IsZero() {
		deadline = time.Now().Add(w.timeout)
	}
	_ = w.stream.SetWriteDeadline(deadline)
}

// rest takes the deadline away, as the handler may do something else now.
func (w *http2Writer) rest() { _ = w.stream.SetWriteDeadline(time.Time{}) }

// Write implements http.ResponseWriter. The client has the time for each part.
func (w *http2Writer) Write(p []byte) (n int, err error) {
	const part = 16 << 10 // what a frame has
	defer w.rest()
	for {
		w.extend()
		m, err := w.ResponseWriter.Write(p[n:min(n+part, len(p))])
		n += m
		if err != nil || n == len(p) {
			return n, err
		}
	}
}

// FlushError is for http.ResponseController.
func (w *http2Writer) FlushError() error {
	defer w.rest()
	w.extend()
	return w.stream.Flush()
}

// SetWriteDeadline is for http.ResponseController.
func (w *http2Writer) SetWriteDeadline(deadline time.Time) error {
	w.own = deadline
	return nil
}

// Unwrap is for http.ResponseController.
func (w *http2Writer) Unwrap() http.ResponseWriter { return w.ResponseWriter }
