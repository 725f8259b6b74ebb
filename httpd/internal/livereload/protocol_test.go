package livereload

import (
	"encoding/json"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/execlog/execlogd/internal/ansi"

	"github.com/execlog/execlogd/httpd/internal/waitgroup"
)

// FuzzHandshake: whatever a client says first, the server answers exactly when it is a
// hello that offers the protocol.
func FuzzHandshake(f *testing.F) {
	for _, seed := range []string{
		`{"command":"hello","protocols":["http://livereload.com/protocols/official-7"],"ver":"4.0.2","ext":{"a":null}}`,
		`{"command":"hello","protocols":null}`, `{"command":1}`, "null", "[]", "", "!!ver:1.6", `{"COMMAND":"hello"}`,
	} {
		f.Add([]byte(seed))
	}
	h := New(Config{}, nil)
	f.Fuzz(func(t *testing.T, text []byte) {
		near, _ := net.Pipe()
		c := &conn{hub: h, client: h.join(), net: newNonblockingConn(near, new(waitgroup.Group), time.Second)}
		defer h.leave(c.client)
		c.net.Close() // so that an answer fails
		answered := c.handle(text) == net.ErrClosed

		var loose map[string]any
		isObject := json.Unmarshal(text, &loose) == nil
		isHello := strings.Contains(string(text), "hello") && strings.Contains(string(text), "official-7") || strings.Contains(string(text), `\u`)
		if answered && !(isObject && isHello) && len(text) <= longMessage {
			t.Errorf("%q was taken for a hello", text)
		}
		newPage(string(text), isAt("localhost:8000"), "/srv")
	})
}

func TestErrorsAreShort(t *testing.T) {
	text, _ := errorsMessage([]*PageError{{Title: strings.Repeat("t", 9999), Text: "<b>" + strings.Repeat("x", 2*maxErrorText) + "end", Output: ansi.Parse(strings.Repeat("y", 2*maxErrorText))}})
	if len(text) > 2*maxErrorText+1000 || !strings.Contains(string(text), `xend"`) {
		t.Errorf("%d bytes", len(text))
	}
	text, _ = errorsMessage([]*PageError{{Title: "t" + strings.Repeat("ä", 9999), Text: strings.Repeat("ä", maxErrorText) + "x"}})
	if strings.Contains(string(text), `\ufffd`) || !strings.Contains(string(text), `"text":"ä`) {
		t.Errorf("cut within a character: %.80s", text)
	}
	text, _ = errorsMessage(nil)
	if string(texts(t, text)[0]) != `{"command":"errors","errors":[]}` {
		t.Errorf("got %s", text)
	}
}

// texts are the messages of frames that are shorter than 64 KiB.
func texts(t testing.TB, frames []byte) (texts [][]byte) {
	t.Helper()
	for len(frames) > 0 {
		n, head := int(frames[1]), 2
		if n == length16 {
			n, head = int(frames[2])<<8|int(frames[3]), 4
		}
		texts = append(texts, frames[head:head+n])
		frames = frames[head+n:]
	}
	return texts
}
