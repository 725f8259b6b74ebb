package httpd

import (
	"cmp"
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/execlog/execlogd/httpd/internal/livereload"
)

// A page with thousands of files, which takes more than one message to name them,
// is told of each of them, and of no other.
func TestAPageWithThousandsOfFiles(t *testing.T) {
	run := serve(t, Options{Root: site(t, "a.html", "img/0.png", "img/3999.png", "img/4000.png")})
	names := numbered(4000, "/img/%d.png")
	p := run.open(t, "/a.html", names[:2000]...)
	for part := range slices.Chunk(names[2000:], 500) {
		p.use(t, nil, part...)
		p.is(t, "at")
	}
	again := p.again(t, run) // names all of them at once
	again.is(t, "at")
	pages := []*ourPage{again, run.open(t, "/a.html", names...)}
	change := func(i int) {
		write(t, run.current.Load().directory, fmt.Sprintf("img/%d.png", i), time.Now().String())
		run.Refresh(fmt.Sprintf("img/%d.png", i))
	}
	change(4000)
	for _, p := range pages {
		p.expectNothing(t)
	}
	for _, i := range []int{3999, 0} {
		change(i)
		for _, p := range pages {
			p.is(t, fmt.Sprintf("/img/%d.png", i))
		}
	}
}

// A page that names a few files is taken in before all of those that came earlier
// and name thousands.
func TestAPageDoesNotWaitForThoseWithMoreFiles(t *testing.T) {
	run := serve(t, Options{Root: site(t, "a.html")})
	var large []*ourPage
	for i := range 10 {
		large = append(large, run.info(t, "/", map[string]any{"uses": numbered(4000, fmt.Sprintf("/no/%d/%%d", i))}))
	}
	await(t, func() bool {
		return slices.ContainsFunc(run.hub.Snapshot(len(large), 1).Pages, func(p livereload.OpenPage) bool { return p.Used == 4000 })
	}, "no page is taken in")
	run.open(t, "/a.html", "/b.html", "/c.html")
	waiting := 0
	for _, p := range large {
		if len(p.heard) == 0 {
			waiting++
		}
	}
	if waiting == 0 {
		t.Error("a page with two files has waited for ten with 4000 each")
	}
	for _, p := range large {
		p.is(t, "at")
	}
}

// What one browser can have the server do is limited in the long run, and nobody
// else is.
func TestABrowserThatTalksAllTheTime(t *testing.T) {
	run := serve(t, Options{Root: site(t, "a.html")})
	p := run.open(t, "/a.html")
	long := fmt.Sprintf(`{"command":"uses","uses":[],"padding":"%s"}`, strings.Repeat("x", 60<<10))
	say := func(messages int, within time.Duration) error {
		ctx, cancel := context.WithTimeout(t.Context(), within)
		defer cancel()
		for range messages {
			if err := p.conn.Write(ctx, websocket.MessageText, []byte(long)); err != nil {
				return err
			}
		}
		return p.conn.Ping(ctx) // is answered when all before it is read
	}
	go func() {
		for range p.heard {
		}
	}()
	if err := say(10, time.Minute); err != nil {
		t.Errorf("10 messages of 60 KiB at once: %v", err)
	}
	if say(40, 2*time.Second) == nil {
		t.Error("50 messages of 60 KiB were read at once")
	}
	run.open(t, "/a.html")
}

// What changes while a page is introduced, and its past is looked through, is told.
func TestNothingIsMissedDuringAnIntroduction(t *testing.T) {
	run := serve(t, Options{Root: site(t, "a.html", "a.css")})
	many := numbered(700, "some/%d.js")
	seen := run.hub.Cursor()
	for range 200 {
		run.Refresh(many...)
	}
	for i := range 20 {
		write(t, run.current.Load().directory, "a.css", fmt.Sprint("before ", i))
		p := run.info(t, "/a.html", map[string]any{"seen": seen.String(), "uses": []string{"/a.css", "/some/x.js"}})
		if i%2 == 0 {
			await(t, func() bool {
				pages := run.hub.Snapshot(1, 1).Pages
				return len(pages) == 1 && slices.Contains(pages[0].Uses, "/a.css")
			}, "the page is not taken in")
		}
		write(t, run.current.Load().directory, "a.css", fmt.Sprint("after ", i))
		run.Refresh("a.css")
		for told := false; !told; {
			text := p.hear(t)
			told = strings.Contains(text, `"change"`) && strings.Contains(text, "/a.css")
		}
		p.conn.CloseNow()
		run.awaitBrowsers(t, 0)
		seen = run.hub.Cursor()
		if i < 10 {
			seen.Number -= 100
		}
	}
}

// strangeNames are about as many names as a message has room for, none of which
// leads to a file.
func strangeNames(set int) string {
	return strings.Join(numbered(4000, fmt.Sprintf(`"/no/%d/%%d"`, set)), ",")
}

// A hostilePage says what it likes as fast as the server listens.
type hostilePage struct {
	run   *running
	tasks sync.WaitGroup
	conn  net.Conn // of the goroutine that acts
	acts  func(*hostilePage) error
	ctx   context.Context
	stop  context.CancelFunc
}

// startHostile has a page act again and again, on a new connection whenever that
// is an error.
func (r *running) startHostile(acts func(*hostilePage) error) *hostilePage {
	h := &hostilePage{run: r, acts: acts}
	h.ctx, h.stop = context.WithCancel(context.Background())
	h.tasks.Go(func() {
		for h.connect() == nil {
			for h.acts(h) == nil {
			}
			h.conn.Close()
		}
	})
	return h
}

func (h *hostilePage) end() {
	h.stop()
	h.tasks.Wait()
}

func (h *hostilePage) connect() error {
	conn, err := new(net.Dialer).DialContext(h.ctx, "tcp", h.run.addr)
	if err != nil {
		return err
	}
	h.conn = conn
	context.AfterFunc(h.ctx, func() { conn.Close() })
	conn.Write(append([]byte(upgrade), maskedFrame(ourClientHello)...))
	h.tasks.Go(func() { io.Copy(io.Discard, conn) })
	return nil
}

// introduce is a page's introduction with those names, when it was last told of
// the change so many changes ago.
func (h *hostilePage) introduce(names string, ago uint64) error {
	seen := h.run.hub.Cursor()
	seen.Number -= min(seen.Number, ago)
	_, err := h.conn.Write(maskedFrame(fmt.Sprintf(`{"command":"info","path":"/","url":%q,"seen":%q,"uses":[%s]}`, h.run.url("/"), seen, names)))
	return err
}

// BenchmarkHostilePages is how long a page waits for a change, and another until
// it is introduced, while eight others do what they can to delay that: they name
// thousands of files that are not there, have missed a hundred thousand changed
// files, or do the former on a connection after the other. It is compared with the
// same without them.
func BenchmarkHostilePages(b *testing.B) {
	var names [16]string
	for i := range names {
		names[i] = strangeNames(i)
	}
	var turn atomic.Uint32
	next := func() string { return names[turn.Add(1)%16] }
	b.Run("names", func(b *testing.B) {
		hostileRound(b, func(h *hostilePage) error { return h.introduce(next(), 0) })
	})
	b.Run("missed", func(b *testing.B) {
		hostileRound(b, func(h *hostilePage) error { return h.introduce(`"/a"`, 200) })
	})
	b.Run("connections", func(b *testing.B) {
		hostileRound(b, func(h *hostilePage) error { return cmp.Or(h.introduce(next(), 0), io.EOF) })
	})
}

func hostileRound(b *testing.B, acts func(*hostilePage) error) {
	run := serve(b, Options{Root: site(b, "a.html", "a.css")})
	dir := run.current.Load().directory
	many := numbered(500, "some/%d.js")
	for range 200 {
		run.Refresh(many...)
	}
	page := run.open(b, "/a.html", "/a.css")
	change := func() time.Duration {
		write(b, dir, "a.css", rand.Text())
		run.Refresh(many...)
		start := time.Now()
		run.Refresh("a.css")
		page.is(b, "/a.css")
		return time.Since(start)
	}
	introduction := func() time.Duration {
		start := time.Now()
		p := run.open(b, "/a.html", "/a.css", "/"+rand.Text())
		defer p.conn.CloseNow()
		return time.Since(start)
	}
	during := func(d time.Duration, measured func() time.Duration) (took []time.Duration) {
		for end := time.Now().Add(d); time.Now().Before(end) || len(took) < 5; {
			took = append(took, measured())
		}
		slices.Sort(took)
		return took
	}
	for b.Loop() {
		quiet := during(time.Second, change)
		quietOpen := during(time.Second, introduction)
		var hostile []*hostilePage
		for range 8 {
			hostile = append(hostile, run.startHostile(acts))
		}
		loud := during(3*time.Second, change)
		loudOpen := during(3*time.Second, introduction)
		for _, h := range hostile {
			h.end()
		}
		report := func(name string, alone, among []time.Duration) {
			b.ReportMetric(float64(median(alone))/1e3, name+"-alone-µs")
			b.ReportMetric(float64(median(among))/1e3, name+"-µs")
			b.ReportMetric(float64(among[len(among)*9/10])/1e3, name+"-p90-µs")
		}
		report("change", quiet, loud)
		report("open", quietOpen, loudOpen)
	}
}
