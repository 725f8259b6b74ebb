package accesslog

import (
	"net"
	"strconv"
	"time"
	"unicode/utf16"

	"github.com/execlog/execlogd/httpd"
)

// A Format is how requests are written: one line for each, of printable ASCII alone.
type Format string

// The formats.
const (
	Combined      Format = "combined"       // that of Apache and nginx
	VHostCombined Format = "vhost_combined" // that with the host of the site before it, as Apache has it
	JSON          Format = "json"           // an object, with how long the answer took
)

// maxField is where a text of a client is cut.
const maxField = 4 << 10

// appendLine appends the line of an answer.
func (f Format) appendLine(line []byte, a httpd.Answer) []byte {
	if f == JSON {
		return appendJSON(line, a)
	}
	if f == VHostCombined {
		line = append(appendEscaped(line, requestedHost(a)), ' ')
	}
	return appendCombined(line, a)
}

// appendCombined appends a line in the format
//
//	host - - [day/month/year:time zone] "request" status bytes "referer" "user agent"
//
// where a dash is what is not there.
func appendCombined(line []byte, a httpd.Answer) []byte {
	line = append(line, host(a.Remote)...)
	line = append(line, " - - ["...)
	line = a.Begun.AppendFormat(line, "02/Jan/2006:15:04:05 -0700")
	line = append(line, `] "`...)
	line = appendEscaped(line, a.Method)
	line = append(line, ' ')
	line = appendEscaped(line, a.Target)
	line = append(line, ' ')
	line = appendEscaped(line, a.Proto)
	line = append(line, `" `...)
	line = strconv.AppendInt(line, int64(a.Status), 10)
	line = append(line, ' ')
	line = strconv.AppendInt(line, a.Bytes, 10)
	for _, text := range []string{a.Referer, a.UserAgent} {
		line = append(line, ` "`...)
		if text == "" {
			text = "-"
		}
		line = appendEscaped(line, text)
		line = append(line, '"')
	}
	return append(line, '\n')
}

// host returns the address without the port; a dash for that of a unix socket.
func host(remote string) string {
	host, _, err := net.SplitHostPort(remote)
	if err != nil {
		return "-"
	}
	return host
}

// requestedHost returns the host and port that a request names, with the port that may be left
// out.
func requestedHost(a httpd.Answer) string {
	port := "80"
	if a.TLS {
		port = "443"
	}
	if _, _, err := net.SplitHostPort(a.Host); err == nil {
		return a.Host
	}
	return a.Host + ":" + port
}

const digits = "0123456789abcdef"

// appendEscaped appends text between quotation marks as Apache and nginx write it: \xHH is
// a byte that is not printable ASCII, and one of \ and " has a \ before it.
func appendEscaped(line []byte, text string) []byte {
	for i := range min(len(text), maxField) {
		switch c := text[i]; {
		case c == '"' || c == '\\':
			line = append(line, '\\', c)
		case c < ' ' || c > '~':
			line = append(line, '\\', 'x', digits[c>>4], digits[c&15])
		default:
			line = append(line, c)
		}
	}
	return line
}

// appendJSON appends an object. Its keys are in the manual page.
func appendJSON(line []byte, a httpd.Answer) []byte {
	line = append(line, `{"time":"`...)
	line = a.Begun.AppendFormat(line, time.RFC3339Nano)
	line = append(line, '"')
	for _, field := range [...]struct{ name, text string }{
		{"remote", a.Remote}, {"method", a.Method}, {"host", a.Host}, {"target", a.Target}, {"proto", a.Proto},
	} {
		line = appendMember(line, field.name, field.text)
	}
	line = append(line, `,"status":`...)
	line = strconv.AppendInt(line, int64(a.Status), 10)
	line = append(line, `,"bytes":`...)
	line = strconv.AppendInt(line, a.Bytes, 10)
	line = append(line, `,"seconds":`...)
	line = strconv.AppendFloat(line, a.Took.Seconds(), 'f', 6, 64)
	line = appendMember(line, "referer", a.Referer)
	line = appendMember(line, "user_agent", a.UserAgent)
	return append(line, "}\n"...)
}

// appendMember appends a member of an object whose value is a string. What is not printable
// ASCII is escaped, so that the line does no harm in a terminal either; bytes that are no
// UTF-8 become U+FFFD.
func appendMember(line []byte, name, text string) []byte {
	line = append(line, `,"`...)
	line = append(line, name...)
	line = append(line, `":"`...)
	for _, c := range text[:min(len(text), maxField)] {
		switch {
		case c == '"' || c == '\\':
			line = append(line, '\\', byte(c))
		case c >= ' ' && c <= '~':
			line = append(line, byte(c))
		case c >= 0x10000:
			high, low := utf16.EncodeRune(c)
			line = appendUnit(appendUnit(line, high), low)
		default:
			line = appendUnit(line, c)
		}
	}
	return append(line, '"')
}

// appendUnit appends a code unit of UTF-16 as JSON escapes it.
func appendUnit(line []byte, unit rune) []byte {
	return append(line, '\\', 'u', digits[unit>>12&15], digits[unit>>8&15], digits[unit>>4&15], digits[unit&15])
}
