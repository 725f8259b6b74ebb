package httpd

import (
	"math"
	"net/http"
	"strconv"
	"strings"
)

// conditionHeaders are the fields of a request that say which part of a file is wanted,
// and on which condition.
var conditionHeaders = []string{"Range", "If-Range", "If-Match", "If-None-Match", "If-Modified-Since", "If-Unmodified-Since"}

// withConditions returns a request for [http.ServeContent], which then answers as RFC
// 9110 has it: ServeContent takes ranges of HEAD, is strict about the spelling of a range,
// lets If-Range name a date, and reads one line of a list. Undated says that the date of
// the file is not that of the content, as that has a script element of its own.
func withConditions(r *http.Request, undated bool) *http.Request {
	conditional := false
	for _, name := range conditionHeaders {
		conditional = conditional || r.Header[name] != nil
	}
	if !conditional {
		return r
	}

	r, h := new(*r), r.Header.Clone()
	r.Header = h
	for _, list := range []string{"If-Match", "If-None-Match"} {
		if lines := h[list]; len(lines) > 1 {
			h.Set(list, strings.Join(lines, ", "))
		}
	}
	if undated {
		h.Del("If-Modified-Since")
		h.Del("If-Unmodified-Since")
	}

	ranges := byteRanges(h["Range"])
	switch of := h["If-Range"]; {
	case r.Method != http.MethodGet, ranges == "":
		h.Del("Range")
	case len(of) > 0 && (len(of) > 1 || !strings.HasPrefix(of[0], `"`)):
		// Two saves in a second have one date, and programs set dates at will. So parts
		// of two versions would be put together.
		h.Del("Range")
	default:
		h.Set("Range", ranges)
	}
	return r
}

// byteRanges returns the value of a Range field as ServeContent takes it, or "" if it is
// to be ignored: its unit is not bytes, or it is no list of ranges (RFC 9110, 14.1.1).
func byteRanges(lines []string) string {
	if len(lines) != 1 {
		return ""
	}
	unit, list, ok := strings.Cut(lines[0], "=")
	if !ok || !strings.EqualFold(strings.TrimSpace(unit), "bytes") {
		return ""
	}

	var ranges []string
	for spec := range strings.SplitSeq(list, ",") {
		if spec = strings.Trim(spec, " \t"); spec == "" {
			continue
		}
		first, last, ok := strings.Cut(spec, "-")
		from, fromOK := position(first)
		to, toOK := position(last)
		switch {
		case !ok, !fromOK, !toOK, first == "" && last == "", first != "" && last != "" && to < from:
			return ""
		case first == "" && to == 0:
			ranges = append(ranges, beyond) // no byte at all, of any file
		case first == "":
			ranges = append(ranges, "-"+strconv.FormatInt(to, 10))
		case last == "":
			ranges = append(ranges, strconv.FormatInt(from, 10)+"-")
		default:
			ranges = append(ranges, strconv.FormatInt(from, 10)+"-"+strconv.FormatInt(to, 10))
		}
	}
	if ranges == nil {
		return ""
	}
	return "bytes=" + strings.Join(ranges, ",")
}

// beyond is a range that no file has.
var beyond = strconv.FormatInt(math.MaxInt64, 10) + "-"

// position parses a position in a file, of any number of digits. That of "" is 0.
func position(digits string) (n int64, ok bool) {
	if strings.Trim(digits, "0123456789") != "" {
		return 0, false
	}
	if digits == "" {
		return 0, true
	}
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil {
		n = math.MaxInt64
	}
	return n, true
}
