package httpd

import (
	"bufio"
	"bytes"
	"context"
	"net"
	"net/http"
	"sync"

	"github.com/coder/websocket"
)

// A press makes a message into the frame that a websocket would send, once for
// all browsers that are sent it: a server's frames are the same on every
// connection. It is a websocket whose other end is a buffer.
type press struct {
	mu    sync.Mutex
	conn  *websocket.Conn
	paper bytes.Buffer
	text  []byte // the last message,
	last  []byte // and its frame
}

// frame returns the frame of a message. Neither is ever changed.
func (p *press) frame(text []byte) []byte {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(text) > 0 && len(text) == len(p.text) && &text[0] == &p.text[0] {
		return p.last
	}
	if p.conn == nil {
		p.conn = p.open()
	}
	p.paper.Reset()
	if err := p.conn.Write(context.Background(), websocket.MessageText, text); err != nil {
		panic(err) // a buffer takes everything
	}
	p.text, p.last = text, bytes.Clone(p.paper.Bytes())
	return p.last
}

func (p *press) open() *websocket.Conn {
	r := &http.Request{Method: http.MethodGet, ProtoMajor: 1, ProtoMinor: 1, Header: http.Header{
		"Connection":            {"Upgrade"},
		"Upgrade":               {"websocket"},
		"Sec-Websocket-Version": {"13"},
		"Sec-Websocket-Key":     {"AAAAAAAAAAAAAAAAAAAAAA=="},
	}}
	conn, err := websocket.Accept(paperWriter{&p.paper, http.Header{}}, r, nil)
	if err != nil {
		panic(err) // the request is as it must be
	}
	return conn
}

// A paperWriter is a ResponseWriter whose connection is a buffer.
type paperWriter struct {
	paper  *bytes.Buffer
	header http.Header
}

func (w paperWriter) Header() http.Header         { return w.header }
func (w paperWriter) WriteHeader(int)             {}
func (w paperWriter) Write(b []byte) (int, error) { return len(b), nil }

// Hijack is http.Hijacker's.
func (w paperWriter) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, far := net.Pipe()
	far.Close()
	return conn, bufio.NewReadWriter(bufio.NewReader(conn), bufio.NewWriter(w.paper)), nil
}
