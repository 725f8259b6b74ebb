package livereload

import (
	"encoding/json"
	"strings"
	"testing"
)

func TestParseRequest(t *testing.T) {
	r, err := parseRequest([]byte(`{"command":"info","url":"http://x/","plugins":{"less":{"disable":false}},"ext":3}`))
	if err != nil || r.Command != "info" || r.URL != "http://x/" {
		t.Errorf("got %+v, %v", r, err)
	}
}

// FuzzHandshake: whatever a client says first, the server answers with hello
// exactly when it is a hello that offers the protocol.
func FuzzHandshake(f *testing.F) {
	for _, seed := range []string{`{"command":"hello","protocols":["http://livereload.com/protocols/official-7"],"ver":"4.0.2"}`, `{"command":"hello","protocols":null}`, `{"command":1}`, "null", "[]", "", "!!ver:1.6", `{"COMMAND":"hello"}`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		r, err := parseRequest(text)
		if err != nil && (r.Command != "" || r.isHello()) {
			t.Errorf("%q: an error and a request", text)
		}
		var loose map[string]any
		isObject := json.Unmarshal(text, &loose) == nil && loose != nil
		if err == nil && !isObject {
			t.Errorf("%q was taken for a request", text)
		}
		if r.isHello() && !strings.Contains(string(text), "hello") && !strings.Contains(string(text), `\u`) {
			t.Errorf("%q was taken for a hello", text)
		}
		newPage(r.URL, isAt("localhost:8000"), "/srv")
	})
}

func TestErrorsAreShort(t *testing.T) {
	text, _ := errorsMessage([]*PageError{{Title: strings.Repeat("t", 9999), Text: "<b>" + strings.Repeat("x", 2*maxErrorText) + "end"}})
	if len(text) > maxErrorText+1000 || !strings.Contains(string(text), `xend"`) {
		t.Errorf("%d bytes", len(text))
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
