package e2e

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/coder/websocket"
	"github.com/coder/websocket/wsjson"
)

// The protocols of the websocket: LiveReload's version, and our extension of it.
const (
	official7   = "http://livereload.com/protocols/official-7"
	ourProtocol = "https://github.com/execlog/execlogd/protocol-1"
)

// A liveClient is one browser's end of the LiveReload protocol: it says that it
// shows some page and keeps the messages that come.
type liveClient struct {
	conn     *websocket.Conn
	messages chan string   // has room for all that a test can cause
	gone     chan struct{} // closed when no message can come any more
	err      error         // why; set before gone is closed
}

// dialStock connects to the daemon at base as a browser that shows path, and
// returns when the daemon knows that it does. The connection ends with ctx.
func dialStock(ctx context.Context, client *http.Client, base, path string, header http.Header) (*liveClient, error) {
	info := map[string]any{"command": "info", "plugins": map[string]any{}, "url": base + path}
	return dialLive(ctx, client, base, header, info, official7)
}

// dialOurs is openPage for a browser with our client, whose page says what it
// uses. The first message is its position.
func dialOurs(ctx context.Context, base, path string, uses []string) (*liveClient, error) {
	info := map[string]any{"command": "info", "plugins": map[string]any{}, "url": base + path, "path": path, "uses": uses}
	return dialLive(ctx, nil, base, nil, info, official7, ourProtocol)
}

func dialLive(ctx context.Context, client *http.Client, base string, header http.Header, info map[string]any, protocols ...string) (*liveClient, error) {
	return dialServed(ctx, client, base, "", header, info, protocols...)
}

// dialServed is dialLive for a page that was served with a token.
func dialServed(ctx context.Context, client *http.Client, base, token string, header http.Header, info map[string]any, protocols ...string) (*liveClient, error) {
	shake, cancel := context.WithTimeout(ctx, maxWait)
	defer cancel()
	conn, resp, err := websocket.Dial(shake, "ws"+strings.TrimPrefix(base, "http")+"/livereload?"+token,
		&websocket.DialOptions{HTTPClient: client, HTTPHeader: header, Host: header.Get("Host")})
	if err != nil && resp != nil {
		return nil, refusedError(resp.Status)
	}
	if err != nil {
		return nil, err
	}

	// The client speaks first.
	var hello struct {
		Command   string
		Protocols []string
	}
	err = errors.Join(wsjson.Write(shake, conn, map[string]any{"command": "hello", "protocols": protocols}), wsjson.Read(shake, conn, &hello))
	if err == nil && (hello.Command != "hello" || !slices.Equal(hello.Protocols, protocols)) {
		err = fmt.Errorf("the first message %+v is no hello that offers %s", hello, protocols)
	}
	if err != nil {
		conn.CloseNow()
		return nil, err
	}

	p := &liveClient{conn: conn, messages: make(chan string, 10000), gone: make(chan struct{})}
	go func() {
		defer close(p.gone)
		for {
			_, data, err := conn.Read(ctx)
			if err != nil {
				p.err = err
				return
			}
			p.messages <- string(data)
		}
	}()
	// The answer to a ping proves that the daemon has read what was sent before it.
	return p, errors.Join(wsjson.Write(shake, conn, info), conn.Ping(shake))
}

// next waits at most limit for a message.
func (p *liveClient) next(limit time.Duration) (string, error) {
	timeout := time.NewTimer(limit)
	defer timeout.Stop()
	select {
	case message := <-p.messages:
		return message, nil
	case <-p.gone:
		return "", fmt.Errorf("the connection ended: %w", p.err)
	case <-timeout.C:
		return "", fmt.Errorf("no message within %v", limit)
	}
}

// pending is a message that nobody has waited for yet.
func (p *liveClient) pending() (message string, ok bool) {
	select {
	case message = <-p.messages:
		return message, true
	default:
		return "", false
	}
}

// farewell waits for the daemon to end the connection and returns the status
// of its close frame, -1 when there was none.
func (p *liveClient) farewell(ctx context.Context) (websocket.StatusCode, error) {
	select {
	case <-p.gone:
		return websocket.CloseStatus(p.err), nil
	case <-ctx.Done():
		return 0, ctx.Err()
	case <-time.After(maxWait):
		return 0, fmt.Errorf("the connection is still open after %v", maxWait)
	}
}
