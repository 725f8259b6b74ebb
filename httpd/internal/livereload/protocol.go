package livereload

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"slices"
	"time"

	"github.com/execlog/execlogd/httpd/internal/filetype"
	"github.com/execlog/execlogd/httpd/internal/urlpath"
)

// The protocols that are spoken: LiveReload's, and ours with clients that offer it
// beside that.
const (
	officialProtocol = "http://livereload.com/protocols/official-7"
	extendedProtocol = "https://github.com/execlog/execlogd/protocol-1"
)

// The answers to a client's hello.
const (
	officialHello = `{"command":"hello","protocols":["` + officialProtocol + `"],"serverName":"execlogd"}`
	extendedHello = `{"command":"hello","protocols":["` + officialProtocol + `","` + extendedProtocol + `"],"serverName":"execlogd"}`
)

// A request is a message of a client. Which fields count depends on Command.
type request struct {
	Command   string   `json:"command"`
	Protocols []string `json:"protocols"`
	URL       string   `json:"url"`

	// The rest is for the extended protocol.
	Path   string   `json:"path"`   // of the page; "" when it is not of this server
	Seen   string   `json:"seen"`   // a Cursor
	Digest string   `json:"digest"` // that came with it
	Uses   []string `json:"uses"`   // paths
	All    bool     `json:"all"`    // there are too many uses to name
	Age    float64  `json:"age"`    // ms since the first of the uses may have been loaded
}

// parseRequest parses a message. Unknown fields are ignored.
func parseRequest(text []byte) (request, error) {
	var r *request
	if err := json.Unmarshal(text, &r); err != nil {
		return request{}, err
	}
	if r == nil {
		return request{}, errors.New("null is no request")
	}
	return *r, nil
}

func (r request) isHello() bool {
	return r.Command == "hello" && slices.Contains(r.Protocols, officialProtocol)
}

// defaultAge is the age of uses for which the page gives none: longer than a page takes
// to gather them on a slow machine.
const defaultAge = 2 * time.Second

func (r request) age() time.Duration {
	if r.Age <= 0 {
		return defaultAge
	}
	return time.Duration(min(r.Age, 1e9) * float64(time.Millisecond))
}

// A reloadMessage is a reload command of the official protocol, ready to be sent. It is
// shared between pages and must not be changed.
type reloadMessage struct {
	path  string // decoded
	frame []byte
}

// newReloadMessage returns the command for a file. Clients compare the path with what
// they have decoded themselves. Whether a file is fetched again in place is said in so
// many words, as clients would go by its extension.
func newReloadMessage(name string, inPlace bool) reloadMessage {
	return reloadMessage{"/" + name, encode(struct {
		Command string `json:"command"`
		Path    string `json:"path"`
		LiveCSS bool   `json:"liveCSS"`
		LiveImg bool   `json:"liveImg"`
	}{"reload", "/" + name, inPlace, inPlace})}
}

// missed is the reload of a page that missed too much to say what.
var missed = newReloadMessage("", false)

// maxAssets is how many files a page is told to fetch again in place. When there are
// more, loading the page again is less work for everybody.
const maxAssets = 32

// An update is what a page is told of changes: to load again, or else to fetch assets
// again in place. The zero update is nothing.
type update struct {
	reload *reloadMessage
	assets []reloadMessage // shared between pages; must not be changed
}

func (u update) isEmpty() bool { return u.reload == nil && len(u.assets) == 0 }

// merge adds a later update. A reload includes everything else, and so does a list of
// assets that is too long.
func (u update) merge(later update) update {
	switch {
	case u.reload != nil || later.isEmpty():
		return u
	case later.reload != nil || len(u.assets) == 0:
		return later
	case u.includes(later.assets):
		return u // the usual case for a browser that does not read
	}

	var styles, images []reloadMessage
	seen := make(map[string]bool)
	for _, m := range slices.Concat(u.assets, later.assets) {
		switch {
		case seen[m.path]:
		case filetype.Of(m.path).Kind == filetype.StyleSheet:
			styles = append(styles, m)
		default:
			images = append(images, m)
		}
		seen[m.path] = true
	}
	all := append(styles, images...)
	if len(all) > maxAssets {
		return update{reload: new(newReloadMessage(all[0].path[1:], false))}
	}
	return update{assets: all}
}

func (u update) includes(assets []reloadMessage) bool {
	for _, m := range assets {
		if !slices.ContainsFunc(u.assets, func(own reloadMessage) bool { return own.path == m.path }) {
			return false
		}
	}
	return true
}

// frames returns an update for a client of the official protocol: a frame for each file.
func (u update) frames() []byte {
	if u.reload != nil {
		return u.reload.frame
	}
	frames := make([][]byte, len(u.assets))
	for i, asset := range u.assets {
		frames[i] = asset.frame
	}
	return joinFrames(frames...)
}

// files returns the canonical paths of the files of an update.
func (u update) files() []string {
	files := []string{}
	switch {
	case u.reload == &missed:
	case u.reload != nil:
		files = append(files, urlpath.Canonical(u.reload.path))
	default:
		for _, m := range u.assets {
			files = append(files, urlpath.Canonical(m.path))
		}
	}
	return files
}

// A messageHeader begins the messages of the extended protocol that have a cursor.
type messageHeader struct {
	Command string `json:"command"`
	Seen    string `json:"seen"`
	Digest  string `json:"digest,omitempty"`
}

// messageText returns the text of a message, with a gap for the digest if it has one.
func messageText(at Cursor, u update, hasDigest bool) (head, tail []byte) {
	header := messageHeader{Command: "at", Seen: at.String()}
	if hasDigest {
		header.Digest = "*"
	}
	text := marshal(header)
	if !u.isEmpty() {
		header.Command = "change"
		text = marshal(struct {
			messageHeader
			Reload bool     `json:"reload"`
			Files  []string `json:"files"`
		}{header, u.reload != nil, u.files()})
	}
	if !hasDigest {
		return text, nil
	}

	const gap = `"digest":"`
	n := bytes.Index(text, []byte(gap)) + len(gap)
	return text[:n:n], text[n+1:]
}

// marshal returns the JSON of a message, which is made of structs, strings, numbers and
// lists, so that there can be no error.
func marshal(message any) []byte {
	text, err := json.Marshal(message)
	if err != nil {
		panic(err)
	}
	return text
}

// encode returns the frame of a message.
func encode(message any) []byte { return textFrame(marshal(message)) }

// The header of a frame (RFC 6455, section 5.2): the byte that begins a whole text
// message, and the values of the second byte that say that the length is in the next two
// or eight bytes.
const (
	finalText = 0x81
	length16  = 126
	length64  = 127
	maxHeader = 1 + 1 + 8 // bytes
)

// textFrame returns a message as a server sends it: one websocket frame without a mask
// and not compressed. The bytes are the same on every connection, so pages share a
// frame. It must not be changed.
func textFrame(text []byte) []byte {
	frame := appendTextHeader(make([]byte, 0, maxHeader+len(text)), len(text))
	return append(frame, text...)
}

// appendTextHeader appends the header of the frame of a message of n bytes.
func appendTextHeader(b []byte, n int) []byte {
	switch {
	case n < length16:
		return append(b, finalText, byte(n))
	case n <= 0xffff:
		return binary.BigEndian.AppendUint16(append(b, finalText, length16), uint16(n))
	default:
		return binary.BigEndian.AppendUint64(append(b, finalText, length64), uint64(n))
	}
}

// joinFrames joins frames, to be written at once. A single one, which is the usual case,
// is not copied.
func joinFrames(frames ...[]byte) []byte {
	var joined []byte
	for _, frame := range frames {
		switch {
		case len(frame) == 0:
		case joined == nil:
			joined = slices.Clip(frame) // it is shared: what is appended must get an array of its own
		default:
			joined = append(joined, frame...)
		}
	}
	return joined
}
