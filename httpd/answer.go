package httpd

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"time"
)

// An Answer is what Options.Answered is told of a request that was answered. The strings
// are as the client has sent them, of any length and with any byte that net/http lets
// through.
type Answer struct {
	Begun     time.Time     // when the header had been read
	Took      time.Duration // from then on; for a websocket, or a stream of events, to its end
	Remote    string        // address and port of the client; that of a proxy, if there is one
	Method    string
	Target    string // path and query
	Proto     string
	Host      string
	TLS       bool
	Referer   string
	UserAgent string
	Status    int   // 101 for a websocket; 0 if the connection broke before there was one
	Bytes     int64 // of the body, as far as they were written; 0 for a websocket
}

// An answerRecorder is a ResponseWriter that makes an Answer.
type answerRecorder struct {
	http.ResponseWriter
	answer *Answer // apart, as that of a websocket outlives the request and what it holds
	done   func(Answer)
	later  bool // the answer is reported at the end of the websocket
}

func newAnswerRecorder(w http.ResponseWriter, r *http.Request, done func(Answer)) *answerRecorder {
	answer := answerTo(r)
	answer.Begun, answer.Remote = time.Now(), r.RemoteAddr
	return &answerRecorder{ResponseWriter: w, done: done, answer: &answer}
}

// answerTo returns the part of an Answer that the bytes of its request say.
func answerTo(r *http.Request) Answer {
	return Answer{Method: r.Method, Target: r.RequestURI, Proto: r.Proto, Host: r.Host, TLS: r.TLS != nil, Referer: r.Referer(), UserAgent: r.UserAgent()}
}

// finish reports the answer, unless it goes on in a websocket.
func (a *answerRecorder) finish() {
	if !a.later {
		report(a.answer, a.done)
	}
}

// returned is called when the handler has returned. If it has written nothing that is 200.
func (a *answerRecorder) returned() {
	if !a.later { // then the answer is no longer ours
		a.countWritten(0)
	}
}

// finishAfter has the answer reported when the function that it returns is called, and not
// by finish. That function first calls closed, unless that is nil.
func (a *answerRecorder) finishAfter(closed func()) func() {
	a.later = true
	answer, done := a.answer, a.done
	return func() {
		if closed != nil {
			closed()
		}
		report(answer, done)
	}
}

func report(answer *Answer, done func(Answer)) {
	answer.Took = time.Since(answer.Begun)
	done(*answer)
}

// WriteHeader implements http.ResponseWriter.
func (a *answerRecorder) WriteHeader(status int) {
	isFinal := status >= 200 || status == http.StatusSwitchingProtocols
	if a.answer.Status == 0 && isFinal {
		a.answer.Status = status
	}
	a.ResponseWriter.WriteHeader(status)
}

// countWritten counts bytes of the body, which without a header imply the status.
func (a *answerRecorder) countWritten(n int64) {
	if a.answer.Status == 0 {
		a.answer.Status = http.StatusOK
	}
	if a.answer.Method != http.MethodHead { // whose body is dropped
		a.answer.Bytes += n
	}
}

// Write implements http.ResponseWriter.
func (a *answerRecorder) Write(p []byte) (int, error) {
	n, err := a.ResponseWriter.Write(p)
	a.countWritten(int64(n))
	return n, err
}

// ReadFrom implements io.ReaderFrom, by which the kernel copies from a file.
func (a *answerRecorder) ReadFrom(src io.Reader) (int64, error) {
	n, err := io.Copy(a.ResponseWriter, src)
	a.countWritten(n)
	return n, err
}

// Hijack implements http.Hijacker. httputil.ReverseProxy takes the connection of a websocket
// over before it writes the header, past WriteHeader.
func (a *answerRecorder) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, rw, err := http.NewResponseController(a.ResponseWriter).Hijack()
	if err == nil && a.answer.Status == 0 {
		a.answer.Status = http.StatusSwitchingProtocols
	}
	return conn, rw, err
}

// Unwrap is for http.ResponseController.
func (a *answerRecorder) Unwrap() http.ResponseWriter { return a.ResponseWriter }
