package livereload

import (
	"cmp"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"slices"

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
	Path   string          `json:"path"`   // of the page; "" when it is not of this server
	Seen   string          `json:"seen"`   // a Cursor
	Digest string          `json:"digest"` // that came with it
	Uses   []string        `json:"uses"`   // paths
	All    bool            `json:"all"`    // there are too many uses to name
	Event  json.RawMessage `json:"event"`  // what the reader did
	Age    float64         `json:"age"`    // ms since the first of the uses may have been loaded
	Title  string          `json:"title"`  // of the page
}

// defaultAge is the age of uses, in ms, for which the page gives none: longer than a page
// takes to gather them on a slow machine.
const defaultAge = 2000

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
	}

	// Nothing new is the usual case for a browser that does not read.
	has := func(m reloadMessage) bool {
		return slices.ContainsFunc(u.assets, func(own reloadMessage) bool { return own.path == m.path })
	}
	if !slices.ContainsFunc(later.assets, func(m reloadMessage) bool { return !has(m) }) {
		return u
	}

	all := slices.Concat(u.assets, slices.DeleteFunc(slices.Clone(later.assets), has))
	slices.SortStableFunc(all, func(a, b reloadMessage) int { // style sheets, then images
		return cmp.Compare(filetype.Of(a.path).Kind, filetype.Of(b.path).Kind)
	})
	if len(all) > maxAssets {
		return update{reload: new(newReloadMessage(all[0].path[1:], false))}
	}
	return update{assets: all}
}

// messageText returns the text of the message that tells a cursor and an update, up to
// where the digest belongs.
func messageText(at Cursor, u update) []byte {
	if u.isEmpty() {
		return fmt.Appendf(nil, `{"command":"at","seen":"%s"`, at)
	}
	files := []string{}
	if u.reload != nil && u.reload != &missed {
		files = append(files, urlpath.Canonical(u.reload.path))
	}
	for _, m := range u.assets {
		files = append(files, urlpath.Canonical(m.path))
	}
	return fmt.Appendf(nil, `{"command":"change","seen":"%s","reload":%t,"files":%s`, at, u.reload != nil, marshal(files))
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
