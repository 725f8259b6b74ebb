package e2e

import (
	"bytes"
	"cmp"
	"flag"
	"html"
	"image"
	imagecolor "image/color"
	"image/draw"
	"image/gif"
	"image/png"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
)

var screenshot = flag.String("screenshot", "", "write the GIF of README to this `file`")

// Size of each half of the picture, in pixels.
const (
	paneWidth  = 520
	paneHeight = 440
)

// maxScreenshot is how many bytes a reader of README should have to load.
const maxScreenshot = 300 << 10

// TestScreenshot makes the GIF of README: a file is changed in an editor, saved,
// and the page beside it shows the change. The daemon and the page are real; the
// editor is a page that shows the text.
func TestScreenshot(t *testing.T) {
	if *screenshot == "" {
		t.Skip("run by make screenshot: it writes docs/save.gif")
	}
	browser := startChromium(t)
	site, d := serve(t, map[string]string{
		"index.html":  readFile(t, "../examples/site/index.html"),
		"style.css":   readFile(t, "../examples/site/style.css"),
		"app.js":      readFile(t, "../examples/site/app.js"),
		"sun.svg":     readFile(t, "../examples/site/sun.svg"),
		"favicon.ico": "", // asked for by Chromium
	})
	page := openUnconnected(t, browser, d.URL+"/")
	page.connected()
	editor := openUnconnected(t, browser, "about:blank")
	for _, p := range []*tab{page, editor} {
		if err := chromedp.Do(p.driver.(chromiumTab).ctx, chromedp.EmulateViewport(paneWidth, paneHeight)); err != nil {
			t.Fatal(err)
		}
	}
	page.do("for (let i = 0; i < 3; i++) document.querySelector('#count').click(); document.querySelector('#count').blur()")

	m := movie{t: t, site: site, editor: editor, page: page}
	const (
		accent = "getComputedStyle(document.documentElement).getPropertyValue('--accent').trim()"
		pause  = 150 // hundredths of a second
	)
	m.edit("style.css", "--accent: light-dark(#b45309, #f2a93b);", "--accent: ", "crimson;")
	m.save("style.css")
	page.shows(accent, "crimson")
	page.shows("document.querySelector('#count').innerText", "Pressed 3 times") // it was not loaded again
	m.shoot(pause * 2)
	m.edit("index.html", "This page is watching its files", "Saved, ", "and it is here")
	m.save("index.html")
	page.shows("document.querySelector('h1').innerText", "Saved, and it is here")
	m.shoot(pause * 2)

	var out bytes.Buffer
	if err := gif.EncodeAll(&out, m.encode()); err != nil {
		t.Fatal(err)
	}
	if out.Len() > maxScreenshot {
		t.Errorf("it has %d bytes, want %d at most", out.Len(), maxScreenshot)
	}
	if err := os.WriteFile(*screenshot, out.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
}

// A movie is the pictures of an editor and a page side by side.
type movie struct {
	t            *testing.T
	site         string
	editor, page *tab

	text   string // of the file that is in the editor
	frames []*image.RGBA
	delays []int // hundredths of a second
}

// edit replaces old in a file by prefix and typed, of which each frame shows some
// letters more. Nothing is saved yet.
func (m *movie) edit(name, old, prefix, typed string) {
	m.t.Helper()
	text := readFile(m.t, filepath.Join(m.site, name))
	before, after, found := strings.Cut(text, old)
	if !found {
		m.t.Fatalf("%s does not contain %q", name, old)
	}

	m.show(name, before, old, after, false)
	m.shoot(150)
	const letters = 4
	for n := 0; n < len(typed)+letters; n += letters {
		m.show(name, before, prefix+typed[:min(n, len(typed))], after, true)
		m.shoot(20)
	}
	m.text = before + prefix + typed + after
	m.shoot(60)
}

// save writes the text to the file.
func (m *movie) save(name string) {
	m.t.Helper()
	if err := replace(filepath.Join(m.site, name), m.text); err != nil {
		m.t.Fatal(err)
	}
	m.editor.do("document.querySelector('#state').textContent = 'saved'")
}

// show puts text into the editor. The middle of it is highlighted.
func (m *movie) show(name, before, middle, after string, unsaved bool) {
	m.t.Helper()
	const above, below = 6, 12 // lines
	lines := strings.SplitAfter(before, "\n")
	before = strings.Join(lines[max(0, len(lines)-above):], "")
	lines = strings.SplitAfter(after, "\n")
	after = strings.Join(lines[:min(len(lines), below)], "")
	state := ""
	if unsaved {
		state = "not saved"
	}
	body := `<div style="padding:10px 14px;background:#2a2f3a;color:#c8ccd4">` + name + ` <span id="state" style="color:#e5c07b;float:right">` + state + `</span></div>` +
		`<pre style="padding:14px;margin:0;font:13px/1.6 'DejaVu Sans Mono',monospace">` + html.EscapeString(before) +
		`<span style="background:#3e4451;color:#fff">` + html.EscapeString(middle) + `</span>` + html.EscapeString(after) + `</pre>`
	m.editor.do("document.body.style = 'margin:0;background:#1e2127;color:#9da5b4;font:14px sans-serif;overflow:hidden'; document.body.innerHTML = `" + strings.ReplaceAll(body, "`", "") + "`")
}

// shoot adds a frame that stays for so many hundredths of a second.
func (m *movie) shoot(delay int) {
	m.t.Helper()
	frame := image.NewRGBA(image.Rect(0, 0, 2*paneWidth, paneHeight))
	for i, p := range []*tab{m.editor, m.page} {
		data, err := chromedp.Run(p.driver.(chromiumTab).ctx, chromedp.CaptureScreenshot())
		if err != nil {
			m.t.Fatal(err)
		}
		pane, err := png.Decode(bytes.NewReader(data))
		if err != nil {
			m.t.Fatal(err)
		}
		draw.Draw(frame, image.Rect(i*paneWidth, 0, (i+1)*paneWidth, paneHeight), pane, image.Point{}, draw.Src)
	}
	m.frames = append(m.frames, frame)
	m.delays = append(m.delays, delay)
}

// encode returns the frames in the 256 colours that are most frequent in them. Each
// frame but the first has the changed rectangle alone.
func (m *movie) encode() *gif.GIF {
	counts := map[imagecolor.Color]int{}
	for _, f := range m.frames {
		for y := range f.Rect.Dy() {
			for x := range f.Rect.Dx() {
				counts[f.RGBAAt(x, y)]++
			}
		}
	}
	byCount := slices.SortedFunc(maps.Keys(counts), func(a, b imagecolor.Color) int { return cmp.Compare(counts[b], counts[a]) })
	palette := imagecolor.Palette(byCount[:min(256, len(byCount))])

	g := &gif.GIF{Delay: m.delays}
	nearest := map[imagecolor.Color]uint8{}
	for i, f := range m.frames {
		area := f.Rect
		if i > 0 {
			area = changed(m.frames[i-1], f)
		}
		p := image.NewPaletted(area, palette)
		for y := area.Min.Y; y < area.Max.Y; y++ {
			for x := area.Min.X; x < area.Max.X; x++ {
				c := f.RGBAAt(x, y)
				index, known := nearest[c]
				if !known {
					index = uint8(palette.Index(c))
					nearest[c] = index
				}
				p.SetColorIndex(x, y, index)
			}
		}
		g.Image = append(g.Image, p)
	}
	return g
}

// changed returns the smallest rectangle with all differences; one pixel if there
// are none.
func changed(a, b *image.RGBA) image.Rectangle {
	area := image.Rectangle{}
	for y := range b.Rect.Dy() {
		for x := range b.Rect.Dx() {
			if a.RGBAAt(x, y) != b.RGBAAt(x, y) {
				area = area.Union(image.Rect(x, y, x+1, y+1))
			}
		}
	}
	if area.Empty() {
		return image.Rect(0, 0, 1, 1)
	}
	return area
}

func readFile(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
