// Package ansi reads what programs write for a terminal: text with the escape
// sequences of ECMA-48. Of those the colours and the weight of the text are kept (SGR),
// and all others are dropped.
//
// No library does this: github.com/leaanthony/go-ansi-parser fails on a sequence that is no
// colour, and github.com/charmbracelet/x/ansi would save the forty lines that take sequences
// apart, for five modules in go.mod.
package ansi

import (
	"strconv"
	"strings"
	"unicode/utf8"
)

// A Segment is a part of a text in one style.
type Segment struct {
	Text  string // without escape sequences
	Style Style
}

// A Style is how a text looks. The zero Style is that of the rest of the page.
// Backgrounds are not kept: they would have to go with the page's.
type Style struct {
	Colour            Colour
	Bold, Faint       bool
	Italic, Underline bool
}

// A Colour is one of those that can be read on any page. Black and white are the
// default, and bright colours are not told from others.
type Colour uint8

// The colours, in the order of SGR.
const (
	Default Colour = iota
	Red
	Green
	Yellow
	Blue
	Magenta
	Cyan
	Grey
)

// String is the style in words, as in "red bold", each of which is a class in the style
// sheets of pages that show segments.
func (s Style) String() string {
	words := make([]string, 0, 5)
	add := func(has bool, word string) {
		if has {
			words = append(words, word)
		}
	}
	add(s.Colour != Default, colours[s.Colour])
	add(s.Bold, "bold")
	add(s.Faint, "faint")
	add(s.Italic, "italic")
	add(s.Underline, "underline")
	return strings.Join(words, " ")
}

var colours = [...]string{Red: "red", Green: "green", Yellow: "yellow", Blue: "blue", Magenta: "magenta", Cyan: "cyan", Grey: "grey"}

// Strip returns the text of [Parse].
func Strip(s string) string {
	if !strings.ContainsAny(s, "\r\x1b") {
		return s
	}
	var b strings.Builder
	for _, segment := range Parse(s) {
		b.WriteString(segment.Text)
	}
	return b.String()
}

// Parse returns a text as a terminal would finally show it. Of a line that a program
// drew several times, such as a progress bar, only the last version is left. Control
// characters that are no part of a sequence stay, except for carriage returns.
//
// It takes a time that is linear in the length of s.
func Parse(s string) []Segment {
	var p parser
	for s != "" {
		i := strings.IndexAny(s, "\r\n\x1b")
		if i < 0 {
			i = len(s)
		}
		p.write(s[:i])
		s = s[i:]

		switch {
		case s == "":
		case s[0] == '\n':
			p.write("\n")
			p.lineStart = len(p.done)
			s = s[1:]
		case s[0] == '\r':
			s = strings.TrimLeft(s, "\r")
			if s != "" && s[0] != '\n' {
				p.done = p.done[:p.lineStart] // the line is drawn again
			}
		default:
			s = p.escape(s)
		}
	}
	return p.segments()
}

// Last returns the last n bytes of a text. What is cut begins with a character.
func Last(segments []Segment, n int) []Segment {
	for i := len(segments) - 1; i >= 0; i-- {
		text := segments[i].Text
		if len(text) <= n {
			n -= len(text)
			continue
		}

		text = text[len(text)-n:]
		for text != "" && !utf8.RuneStart(text[0]) {
			text = text[1:]
		}
		if text == "" {
			return segments[i+1:]
		}
		return append([]Segment{{text, segments[i].Style}}, segments[i+1:]...)
	}
	return segments
}

// A parser has what is read so far. No entry of done has the newline of one line and text of
// the next.
type parser struct {
	done      []Segment
	lineStart int // the first entry of the line
	style     Style
}

func (p *parser) write(text string) {
	if text != "" {
		p.done = append(p.done, Segment{text, p.style})
	}
}

// segments returns what was read, with neighbours of one style as one.
func (p *parser) segments() []Segment {
	var joined []Segment
	for i := 0; i < len(p.done); {
		style := p.done[i].Style
		var text strings.Builder
		for ; i < len(p.done) && p.done[i].Style == style; i++ {
			text.WriteString(p.done[i].Text)
		}
		joined = append(joined, Segment{text.String(), style})
	}
	return joined
}

// escape reads the escape sequence with which s begins, and returns the rest. One that is cut
// off ends with the text.
func (p *parser) escape(s string) string {
	s = s[1:]
	if s == "" {
		return ""
	}
	switch s[0] {
	case '[': // a control sequence: parameters, intermediate bytes and a final one
		end := strings.IndexFunc(s[1:], func(c rune) bool { return c < ' ' || c > '?' })
		if end < 0 {
			return ""
		}
		parameters, rest := s[1:1+end], s[1+end:]
		if rest[0] < '@' || rest[0] > '~' {
			return rest // broken off
		}
		if rest[0] == 'm' {
			p.style.set(parameters)
		}
		return rest[1:]
	case ']', 'P', '_', '^', 'X': // a string, such as the address of a link, up to BEL or ST
		end := strings.IndexAny(s, "\a\n\x1b")
		switch {
		case end < 0:
			return ""
		case s[end] == '\a':
			return s[end+1:]
		case strings.HasPrefix(s[end:], "\x1b\\"):
			return s[end+2:]
		}
		return s[end:]
	}
	for s != "" && s[0] >= ' ' && s[0] <= '/' { // as in ESC ( B
		s = s[1:]
	}
	if s != "" && s[0] >= '0' && s[0] <= '~' {
		return s[1:]
	}
	return s
}

// set applies the parameters of an SGR sequence.
func (s *Style) set(parameters string) {
	if strings.Trim(parameters, "0123456789;:") != "" {
		return // of a terminal's own
	}
	codes := make([]int, 0, 8)
	for parameter := range strings.SplitSeq(parameters, ";") {
		for _, text := range parts(parameter) {
			code, _ := strconv.Atoi(text) // an empty one is 0
			codes = append(codes, code)
		}
	}

	for len(codes) > 0 {
		code := codes[0]
		codes = codes[1:]
		switch {
		case code == 0:
			*s = Style{}
		case code == 1:
			s.Bold = true
		case code == 2:
			s.Faint = true
		case code == 3:
			s.Italic = true
		case code == 4:
			s.Underline = true
		case code == 22:
			s.Bold, s.Faint = false, false
		case code == 23:
			s.Italic = false
		case code == 24:
			s.Underline = false
		case code >= 30 && code <= 37:
			s.Colour = basic(code - 30)
		case code >= 90 && code <= 97:
			s.Colour = basic(code - 90 + 8)
		case code == 39:
			s.Colour = Default
		case code == 38:
			s.Colour, codes = extended(codes)
		case code == 48 || code == 58: // of the background, of the underline
			_, codes = extended(codes)
		}
	}
}

// parts returns the codes of one parameter, which may have parts of its own between colons.
func parts(parameter string) []string {
	codes := strings.Split(parameter, ":")
	switch code := codes[0]; {
	case len(codes) == 1:
	case code == "4" && codes[1] == "0":
		return []string{"24"} // no underline
	case code != "38" && code != "48" && code != "58":
		return codes[:1] // in a kind that is not kept, as the underline of 4:3
	case codes[1] == "2" && len(codes) > 5:
		return append(codes[:2], codes[3:6]...) // without the colour space, which is mostly empty
	}
	return codes
}

// basic returns one of the 16 colours that every terminal has.
func basic(n int) Colour {
	switch {
	case n == 8:
		return Grey
	case n%8 == 7:
		return Default
	}
	return Colour(n % 8) // black is the default as well
}

// extended returns the colour that the parameters behind 38 name, and the rest of them.
func extended(codes []int) (Colour, []int) {
	switch {
	case len(codes) >= 2 && codes[0] == 5: // of a palette of 256
		n := codes[1]
		switch {
		case n < 16:
			return basic(n), codes[2:]
		case n < 232: // a cube of six shades each
			n -= 16
			return nearest(n/36*51, n/6%6*51, n%6*51), codes[2:]
		}
		return Grey, codes[2:]
	case len(codes) >= 4 && codes[0] == 2:
		return nearest(codes[1], codes[2], codes[3]), codes[4:]
	}
	return Default, nil
}

// nearest returns the colour that is most like one of red, green and blue from 0 to 255.
func nearest(r, g, b int) Colour {
	low, high := min(r, g, b), max(r, g, b)
	if high-low < 48 {
		if low > 64 && high < 192 {
			return Grey
		}
		return Default
	}
	half, n := (low+high)/2, 0
	for bit, shade := range []int{r, g, b} {
		if shade > half {
			n |= 1 << bit
		}
	}
	return Colour(n)
}
