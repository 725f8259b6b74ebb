package httpd

import (
	"bytes"
	"cmp"
	"io"
	"math"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/execlog/execlogd/httpd/internal/livereload"
)

// A request costs net/http more than the file that answers it. So a connection answers
// what it can by itself: a request of the very bytes of one that the handler has answered
// lately, with a file of the hotFiles that is still the same. The handler offers what it
// answers, and anything else goes to net/http. What is served, and to whom, is decided in
// one place therefore.

// laneBuffer is how large a request may be that a connection answers by itself; bytes.
const laneBuffer = 4 << 10

// fastLane has the connections of a listener answer by themselves, if the files are in plain
// HTTP there.
func (s *Server) fastLane(ln net.Listener, listener *listenerInfo, conns *httpConns) net.Listener {
	if listener.tls != nil || listener.statusOnly {
		return ln
	}
	return &laneListener{Listener: ln, server: s, conns: conns}
}

// peeked is how many bytes of the next request net/http waits for before the time for its
// header begins.
const peeked = 4

// A laneListener accepts connections that answer by themselves what they can.
type laneListener struct {
	net.Listener
	server *Server
	conns  *httpConns
}

func (l *laneListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if tcp, ok := conn.(*net.TCPConn); ok {
		return newLaneConn(tcp, l), nil
	}
	return conn, err
}

// A laneConn is a connection whose Read answers requests, and returns only bytes that
// net/http is to answer. It returns the bytes of one request and no others until that is
// answered, so that it knows where the next one begins. That holds as long as each is
// whole and plain (see isPlain). From the first that is not, or that does not come at
// once, all bytes go to net/http, for ever.
//
// Its methods are called as net/http does it: one Read at a time, and track while there
// is none.
type laneConn struct {
	*net.TCPConn
	server *Server
	conns  *httpConns

	buf     []byte // what all keys begin with, and then what the client has sent that is not answered
	start   int    // length of the former
	request int    // where the request ends that net/http has; 0 for none
	key     []byte // of that
	given   int    // what lies before this, net/http has got
	passing bool   // all bytes go to net/http

	sites *hostTable // in which site was found for host
	host  []byte
	site  *Server

	extended time.Time // when the read deadline was set by us; zero if it was by net/http
	vector   [5][]byte
	buffers  net.Buffers // of vector

	answered atomic.Int64 // when the last answer was sent; ns since 1970, math.MaxInt64 while it is, 0 if there is none
}

func newLaneConn(conn *net.TCPConn, l *laneListener) *laneConn {
	c := &laneConn{TCPConn: conn, server: l.server, conns: l.conns}
	// This is all that answers depend on beside the request; see also offer.
	from := byte('r')
	if remote, err := netip.ParseAddrPort(conn.RemoteAddr().String()); err == nil && remote.Addr().Unmap().IsLoopback() {
		from = 'l'
	}
	c.buf = append(make([]byte, 0, laneBuffer), conn.LocalAddr().String()...)
	c.buf = append(c.buf, from)
	c.start = len(c.buf)
	return c
}

// Read implements net.Conn.
func (c *laneConn) Read(p []byte) (int, error) {
	switch {
	case c.given > 0 && c.given < c.end():
		return c.give(p), nil
	case c.passing:
		c.buf = nil
		return c.TCPConn.Read(p)
	case c.request > 0:
		return c.readAhead(p)
	}

	c.extended = time.Time{}
	for {
		end := headerEnd(c.buf[c.start:])
		if end > 0 {
			if s, a := c.answer(c.buf[:c.start+end]); a != nil {
				c.consume(c.start + end)
				if err := c.send(s, a); err != nil {
					return 0, io.EOF // net/http answers other errors
				}
				continue
			}
		}
		switch {
		case end > 0 && isPlain(c.buf[c.start:c.start+end]):
			c.request = c.start + end
			c.key = c.buf[:c.request]
		case len(c.buf) >= c.start+peeked || len(c.buf) > c.start && c.extended.IsZero():
			c.passing = true
		default:
			n, err := c.TCPConn.Read(c.buf[len(c.buf):cap(c.buf)])
			c.buf = c.buf[:len(c.buf)+n]
			if n == 0 {
				return 0, err
			}
			continue
		}

		if !c.extended.IsZero() {
			c.SetReadDeadline(time.Now().Add(c.server.timeouts.header))
		}
		c.given = c.start
		return c.give(p), nil
	}
}

// end returns where the bytes end that net/http may have now.
func (c *laneConn) end() int {
	if c.passing {
		return len(c.buf)
	}
	return c.request
}

func (c *laneConn) give(p []byte) int {
	n := copy(p, c.buf[c.given:c.end()])
	c.given += n
	return n
}

// readAhead is Read while a request is answered, when net/http reads one byte in a
// goroutine to see whether the client goes. It ends that by a deadline. What the client
// sends meanwhile is kept.
func (c *laneConn) readAhead(p []byte) (int, error) {
	for len(c.buf) < cap(c.buf) {
		n, err := c.TCPConn.Read(c.buf[len(c.buf):cap(c.buf)])
		c.buf = c.buf[:len(c.buf)+n]
		if timeout, ok := err.(net.Error); err != nil && (ok && timeout.Timeout() || len(c.buf) == c.request) {
			return 0, err
		}
		if err != nil {
			break // once net/http has a byte, it looks no further
		}
	}
	c.passing = true
	return c.Read(p)
}

// track is told the states of the connection by net/http.
func (c *laneConn) track(state http.ConnState) {
	switch {
	case state == http.StateHijacked:
		c.passing, c.key = true, nil
	case state == http.StateIdle && c.request > 0:
		if !c.passing {
			c.consume(c.request)
			c.given = 0
		}
		c.request, c.key = 0, nil
	}
}

// consume drops what lies before an end.
func (c *laneConn) consume(end int) {
	c.buf = append(c.buf[:c.start], c.buf[end:]...)
}

// serverFor returns the server of the site that a request is for. Mostly that is the site of
// the request before.
func (c *laneConn) serverFor(key []byte) *Server {
	sites := c.server.current.Load().sites
	if sites == nil {
		return c.server
	}
	host := hostHeader(key[c.start:])
	if c.sites != sites || !bytes.Equal(c.host, host) {
		c.sites, c.host = sites, bytes.Clone(host)
		c.site = cmp.Or(sites.find(string(host)), c.server)
	}
	return c.site
}

// answer returns the answer to a request and the handler that it is of, or nil. Then send
// has to be called.
func (c *laneConn) answer(key []byte) (now *handler, a *laneAnswer) {
	s := c.serverFor(key)
	before := c.answered.Swap(math.MaxInt64)
	at := s.hub.Cursor() // before the handler is taken: see ServeHTTP
	now = s.current.Load()
	if !c.conns.final.Load() && s.closing.Err() == nil {
		a = now.hot.answerTo(key)
	}
	if a == nil || a.script.element != "" && a.cursor != at || now.rulesNow() != a.rules {
		c.answered.Store(before)
		return nil, nil
	}
	s.requests.begin()
	return now, a
}

// noteAnswer does for an answer of a connection by itself what is done for others while
// they are made.
func (s *handler) noteAnswer(a *laneAnswer, c *laneConn) {
	s.rebuilds.note(a.file.key, wasThere)
	s.noteServed(a.file.urlPath, &a.file.file)
	if a.usedBy != "" {
		s.unscripted.loadFor(a.usedBy, false)
	}
	if a.checked && s.unscripted.serve(a.file.urlPath) {
		s.logUnscripted(a.file.urlPath, c.RemoteAddr().String())
	}
}

// send sends an answer.
func (c *laneConn) send(s *handler, a *laneAnswer) error {
	defer s.requests.end()
	s.fast.Add(1)
	s.cacheHits.Add(1)
	s.noteAnswer(a, c)

	begun := time.Now()
	date := dateLine(begun)
	c.buffers = append(c.vector[:0], a.head, date)
	for _, part := range a.body {
		if len(part) > 0 {
			c.buffers = append(c.buffers, part)
		}
	}
	n, err := c.buffers.WriteTo(c.TCPConn)
	c.vector = [5][]byte{}

	now := time.Now()
	c.answered.Store(now.UnixNano())
	if done := s.opts.Answered; done != nil {
		answer := a.report
		answer.Begun, answer.Took, answer.Remote = begun, now.Sub(begun), c.RemoteAddr().String()
		answer.Bytes = max(0, n-int64(len(a.head)+len(date)))
		done(answer)
	}
	if err == nil && now.Sub(c.extended) > time.Second {
		c.extended = now
		err = c.SetReadDeadline(now.Add(idleTimeout))
	}
	return err
}

// quietSince returns when the connection was used last, if that was later than a time.
func (c *laneConn) quietSince(since time.Time) time.Time {
	if last := time.Unix(0, c.answered.Load()); last.After(since) {
		return last
	}
	return since
}

// plainHeaders are the fields that a plain request may have, in lower case: none that says
// how the request or the connection goes on. Of Connection only keep-alive is one.
var plainHeaders = map[string]bool{
	"host": true, "user-agent": true, "accept": true, "accept-encoding": true, "accept-language": true,
	"if-none-match": true, "if-modified-since": true, "cache-control": true, "pragma": true, "cookie": true, "dnt": true,
	"priority": true, "referer": true, "upgrade-insecure-requests": true, "save-data": true, "purpose": true, "origin": true,
	"sec-fetch-dest": true, "sec-fetch-mode": true, "sec-fetch-site": true, "sec-fetch-user": true, "sec-gpc": true,
	"sec-ch-ua": true, "sec-ch-ua-mobile": true, "sec-ch-ua-platform": true, "sec-purpose": true,
}

// headerEnd returns where the header ends with which text begins, or 0.
func headerEnd(text []byte) int {
	const end = "\r\n\r\n"
	if at := bytes.Index(text, []byte(end)); at >= 0 {
		return at + len(end)
	}
	return 0
}

// isPlain reports whether the header of a request is a GET or HEAD of HTTP/1.1 without a
// body, written as everybody reads it the same way, after which the connection stays open.
func isPlain(header []byte) bool {
	line, rest, _ := bytes.Cut(header[:len(header)-2], []byte("\r\n"))
	target, ok := bytes.CutPrefix(line, []byte("GET /"))
	if !ok {
		target, ok = bytes.CutPrefix(line, []byte("HEAD /"))
	}
	target, isHTTP11 := bytes.CutSuffix(target, []byte(" HTTP/1.1"))
	if !ok || !isHTTP11 || !isVisible(target) || bytes.IndexByte(target, ' ') >= 0 {
		return false
	}

	for len(rest) > 0 {
		line, rest, _ = bytes.Cut(rest, []byte("\r\n"))
		name, value, ok := bytes.Cut(line, []byte(":"))
		if !ok || !isVisible(value) {
			return false
		}
		lower := strings.ToLower(string(name))
		if !plainHeaders[lower] && !(lower == "connection" && strings.EqualFold(strings.TrimSpace(string(value)), "keep-alive")) {
			return false
		}
	}
	return true
}

// isVisible reports whether text has no bytes but visible ones of ASCII and spaces.
func isVisible(text []byte) bool {
	for _, c := range text {
		if c < ' ' || c > '~' {
			return false
		}
	}
	return true
}

// A laneAnswer is an answer that a connection may give by itself.
type laneAnswer struct {
	file *hotFile
	cost int64
	head []byte    // all but the date and the empty line
	body [3][]byte // in parts

	rules   *rulesRead        // by which it was made
	script  script            // in the body
	cursor  livereload.Cursor // that the script has
	checked bool              // see isChecked
	usedBy  string            // path of the page that uses the file, or ""
	report  Answer            // but for the time, the client and the bytes
}

type laneKey struct{}

// An offer is an answer of the handler that becomes a laneAnswer if it turns out to be all
// of a file, or 304. It is nil where no connection can give it by itself.
type offer struct {
	http.ResponseWriter
	conn   *laneConn
	answer laneAnswer
	code   int
}

// offer begins the offer of an answer with a file. It is made for the path of that alone:
// what is shown in place of something else depends on that too.
func (s *handler) offer(w http.ResponseWriter, r *http.Request, f *file, usedBy string) *offer {
	c, _ := r.Context().Value(laneKey{}).(*laneConn)
	redirects := s.opts.CleanURLs && strings.HasSuffix(f.key, ".html")
	if c == nil || !isLastingHost(accessOf(r).host, c.LocalAddr()) || c.request == 0 || f.hot == nil || f.rules == nil || f.urlPath != r.URL.Path || f.script.mayBlock || redirects {
		return nil
	}
	return &offer{ResponseWriter: w, conn: c, answer: laneAnswer{
		file: f.hot, rules: f.rules, script: f.script, cursor: accessOf(r).cursor,
		checked: f.script.element != "" && isChecked(r), usedBy: usedBy,
	}}
}

// isLastingHost reports whether the server goes by a host, as far as a connection's local
// address is concerned, for as long as that is open. The machine may lose other addresses.
func isLastingHost(host string, local net.Addr) bool {
	addr, err := netip.ParseAddr(host)
	tcp, _ := local.(*net.TCPAddr)
	return err != nil || addr.IsLoopback() || tcp != nil && tcp.AddrPort().Addr().Unmap().WithZone("") == addr
}

func (o *offer) WriteHeader(code int) {
	o.code = code
	o.ResponseWriter.WriteHeader(code)
}

// accept has connections give the answer that was given, with a file, or its content by a
// coding unless e is nil.
func (o *offer) accept(h *hotFiles, r *http.Request, f *file, e *encoded) {
	header := o.Header()
	if header["Connection"] != nil {
		return // for this connection alone
	}

	body := [3][]byte{f.text[:f.script.at], []byte(f.script.element), f.text[f.script.at:]}
	if e != nil {
		body = [3][]byte{e.text}
	}
	a := &o.answer
	head := bytes.NewBufferString("HTTP/1.1 200 OK\r\n")
	switch {
	case o.code == http.StatusNotModified:
		head = bytes.NewBufferString("HTTP/1.1 304 Not Modified\r\n")
	case o.code != http.StatusOK || header.Get("Content-Length") != strconv.Itoa(len(body[0])+len(body[1])+len(body[2])):
		return
	case r.Method == http.MethodGet:
		a.body = body
		if e != nil {
			a.cost = int64(len(e.text))
		}
	}
	header.Write(head)
	a.head = head.Bytes()
	a.report = answerTo(r)
	a.report.Status = o.code
	h.keepAnswer(o.conn.key, a)
}

// date is the last line of a head, for all answers of one second.
type date struct {
	second int64
	line   []byte
}

var lastDate atomic.Pointer[date]

// dateLine returns that of a time.
func dateLine(now time.Time) []byte {
	last := lastDate.Load()
	if last == nil || last.second != now.Unix() {
		line := now.UTC().AppendFormat([]byte("Date: "), http.TimeFormat)
		last = &date{now.Unix(), append(line, "\r\n\r\n"...)}
		lastDate.Store(last)
	}
	return last.line
}
