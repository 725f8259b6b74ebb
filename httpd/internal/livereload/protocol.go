package livereload

import (
	"bytes"
	"encoding/json"
	"errors"
	"maps"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/execlog/execlogd/httpd/internal/urlpath"
)

// The protocols that are spoken: LiveReload's, and ours with clients that
// offer it beside that.
const (
	protocol7   = "http://livereload.com/protocols/official-7"
	ourProtocol = "https://github.com/execlog/execlogd/protocol-1"
)

// The answers to a client's hello.
const (
	helloAnswer   = `{"command":"hello","protocols":["` + protocol7 + `"],"serverName":"execlogd"}`
	extendedHello = `{"command":"hello","protocols":["` + protocol7 + `","` + ourProtocol + `"],"serverName":"execlogd"}`
)

// A request is what a client says; which fields count depends on Command.
type request struct {
	Command   string   `json:"command"`
	Protocols []string `json:"protocols"`
	URL       string   `json:"url"`

	// The rest is our protocol.
	Path   string   `json:"path"`   // of the page, as parseUse takes it; empty when it is not of this server
	Seen   string   `json:"seen"`   // a position
	Digest string   `json:"digest"` // that came with it
	Uses   []string `json:"uses"`   // as parseUse takes them
	All    bool     `json:"all"`    // there are too many uses to say
	Age    float64  `json:"age"`    // ms since the first of the uses may have been read
}

// parseRequest reads a frame. Fields that are not known are ignored.
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
	return r.Command == "hello" && slices.Contains(r.Protocols, protocol7)
}

func (r request) offersOurs() bool {
	return slices.Contains(r.Protocols, ourProtocol)
}

// defaultAge is that of uses whose page does not say: the time that a page
// takes to gather them, on a slow machine.
const defaultAge = 2 * time.Second

func (r request) age() time.Duration {
	if r.Age <= 0 {
		return defaultAge
	}
	return time.Duration(min(r.Age, 1e9) * float64(time.Millisecond))
}

// A report is what a page of our protocol says of itself, read.
type report struct {
	shows   []string // uses that it shows
	named   []string // uses that it names, with empty places
	missing bool     // what it shows is not what its URL names
	isOld   bool     // it shows a list of names that are others by now
	usesAll bool     // it uses more than it may say
	served  Cursor   // from before any of it was loaded
	seen    Cursor
	had     digest // at that position
	hasHad  bool
}

// newReport reads a page's info. Where it knows of no position, that is its
// badge's.
func newReport(r request, b PageToken) report {
	p := report{shows: ownUses(r.Path, b), named: parseUses(r.Uses), missing: b.Missing, usesAll: r.All, served: b.Cursor, seen: b.Cursor}
	if r.Seen != "" {
		p.seen = parseCursor(r.Seen)
	}
	p.had, p.hasHad = parseDigest(r.Digest)
	return p
}

// ownUses lists what a page shows.
func ownUses(path string, b PageToken) []string {
	use, ok := urlpath.Parse(path)
	if !ok {
		return nil
	}
	own := []string{use}
	if b.Missing {
		own = append(own, "/"+urlpath.NotFound)
	}
	if b.Listing {
		own = append(own, listingPrefix+use)
	}
	return own
}

// introduce takes in what a page says of itself when its socket opens, and
// leaves in its slot what it missed. It returns what hub.introduce does.
func (h *Hub) introduce(to *client, r request, b PageToken) (compared int) {
	p := newReport(r, b)
	fresh := h.enter(to, p)
	looks := h.lookFirst(fresh)
	p.isOld = b.Listing && h.isOld(p.shows, b)
	return h.catchUpReporting(to, p, looks)
}

// isOld reports whether a page shows a list of names that are not those of the
// directory now. That comes with no change when somebody has looked meanwhile.
func (h *Hub) isOld(own []string, b PageToken) bool {
	return slices.ContainsFunc(own, func(use string) bool {
		if !strings.HasPrefix(use, listingPrefix) {
			return false
		}
		seen := h.look(use)
		return seen.Kind == Directory && seen.Sum != b.Names
	})
}

// lag is how long a message may have been under way.
const lag = 100 * time.Millisecond

// learn takes in what else a page uses. It returns what hub.learn does.
func (h *Hub) addUses(to *client, named []string, age time.Duration) (compared int) {
	added, fresh := h.nameUses(to, named)
	return h.learn(to, added, h.lookFirst(fresh), time.Now().Add(-age-lag))
}

// turn takes in that a page shows another URL without having been loaded.
func (h *Hub) showURL(to *client, own []string) {
	shown, fresh := h.setShown(to, own)
	looks := h.lookFirst(fresh)
	h.learn(to, nil, looks, time.Time{})
	h.turned(to, shown)
}

// list takes in that a page that does not say what it uses is the list of a
// directory. It may have come or gone since the page was served.
func (h *Hub) watchListing(to *client, href string, b PageToken) {
	u, err := url.Parse(href)
	if err != nil {
		return
	}
	use, ok := urlpath.Parse(urlpath.Canonical(u.Path))
	if !ok {
		return
	}
	own := []string{listingPrefix + use}
	shown, fresh := h.setShown(to, own)
	h.learn(to, shown, h.lookFirst(fresh), time.Time{})
	if h.isOld(own, b) {
		h.outdate(to)
	}
}

// lookFirst looks at uses at which nobody has looked yet. When many pages come
// at once, as after a restart, one of them looks and the others wait. They take
// turns, so that a page with few files does not wait for one with many.
func (h *Hub) lookFirst(fresh []*resource) map[*resource]FileState {
	looks := make(map[*resource]FileState)
	for part := range slices.Chunk(fresh, looksAtOnce) {
		maps.Copy(looks, h.lookFirstAt(part))
	}
	return looks
}

func (h *Hub) lookFirstAt(fresh []*resource) map[*resource]FileState {
	h.looking.Lock()
	defer h.looking.Unlock()
	looks := h.lookAt(h.unseen(fresh))
	h.firstSights(looks)
	return looks
}

// lookAt looks at uses.
func (h *Hub) lookAt(uses []*resource) map[*resource]FileState {
	if len(uses) == 0 || h.config.Load().Directory == "" {
		return nil
	}
	looks := make(map[*resource]FileState, len(uses))
	for _, u := range uses {
		looks[u] = h.look(u.path)
	}
	return looks
}

// Tidings are what the messages of our protocol have in common.
type tidings struct {
	Command string `json:"command"`
	Seen    string `json:"seen"`
	Digest  string `json:"digest,omitempty"`
}

// A draft is the latest message, for the next page that has to be told the
// same: but for the digest, which few pages share, it is.
type draft struct {
	of     draftKey
	head   []byte // of the message's text, up to the digest
	tail   []byte // behind it
	digest digest // of the latest
	frame  []byte // the latest
}

type draftKey struct {
	number  uint64
	reload  *reloadMessage
	assets  *reloadMessage // the first
	n       int            // of them
	reports bool
}

// message is the frame that tells a page of our protocol its position and an
// update. It is called with the lock.
func (h *Hub) message(s *client, u update) []byte {
	key := draftKey{number: h.number, reload: u.reload, n: len(u.assets), reports: s.page.reported}
	if len(u.assets) > 0 {
		key.assets = &u.assets[0]
	}
	d := &h.cache
	if d.of != key || d.head == nil {
		*d = draft{of: key}
		d.head, d.tail = draftOf(h.cursor(), u, s.page.reported)
	}
	var has digest
	if s.page.reported {
		has = digest{n: s.named, uses: sumOf(s.page.uses), own: sumOf(s.page.shows)}
	}
	if d.frame == nil || d.digest != has {
		var digits []byte
		if s.page.reported {
			digits = has.append(make([]byte, 0, 64))
		}
		n := len(d.head) + len(digits) + len(d.tail)
		frame := appendTextHeader(make([]byte, 0, maxHeader+n), n)
		d.digest, d.frame = has, append(append(append(frame, d.head...), digits...), d.tail...)
	}
	return d.frame
}

// draftOf writes a message with a gap for the digest, if there is to be one.
func draftOf(at Cursor, u update, digested bool) (head, tail []byte) {
	const gap = `"digest":"`
	news := tidings{Command: "at", Seen: at.String()}
	if digested {
		news.Digest = "*"
	}
	text := toJSON(news)
	if !u.empty() {
		news.Command = "change"
		text = toJSON(struct {
			tidings
			Reload bool     `json:"reload"`
			Files  []string `json:"files"`
		}{news, u.reload != nil, u.files()})
	}
	if !digested {
		return text, nil
	}
	n := bytes.Index(text, []byte(gap)) + len(gap)
	return text[:n:n], text[n+1:]
}

// files names the files of an update, for clients of our protocol.
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

// stockFrames is an update for a stock client: a frame for each file.
func (u update) stockFrames() []byte {
	if u.reload != nil {
		return u.reload.frame
	}
	frames := make([][]byte, len(u.assets))
	for i, asset := range u.assets {
		frames[i] = asset.frame
	}
	return joinFrames(frames...)
}

// triedMessage tells a page of our protocol which missing files it has asked
// for.
func triedMessage(files []string) []byte {
	return marshal(struct {
		Command string   `json:"command"`
		Files   []string `json:"files"`
	}{"tried", files})
}

// marshal is the frame of a message.
func marshal(message any) []byte { return textFrame(toJSON(message)) }

// toJSON writes what can be written: structs of strings, numbers and lists.
func toJSON(message any) []byte {
	text, err := json.Marshal(message)
	if err != nil {
		panic(err)
	}
	return text
}
