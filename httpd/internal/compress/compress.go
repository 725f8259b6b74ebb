// Package compress knows the content codings of HTTP: which a client takes, and how content
// is compressed by them.
package compress

import (
	"bytes"
	"cmp"
	"io"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// Codings are the codings that there are, the best first where a client likes them alike.
var Codings = []string{"br", "zstd", "gzip"}

// Extensions are those of the names of files that are compressed by a coding.
var Extensions = map[string]string{"br": ".br", "zstd": ".zst", "gzip": ".gz"}

// Accepted returns the codings that the lines of Accept-Encoding prefer to content without
// one, the best first, and whether such content is acceptable (RFC 9110, 12.5.3).
func Accepted(lines []string) (codings []string, identity bool) {
	weights := make(map[string]float64)
	for _, line := range lines {
		for item := range strings.SplitSeq(line, ",") {
			name, parameters, _ := strings.Cut(item, ";")
			name = strings.ToLower(strings.Trim(name, " \t"))
			if name == "" {
				continue
			}
			if name == "x-gzip" {
				name = "gzip"
			}
			weights[name] = weight(parameters)
		}
	}

	of := func(coding string) float64 {
		if q, ok := weights[coding]; ok {
			return q
		}
		return weights["*"]
	}
	plain, named := weights["identity"]
	any, hasAny := weights["*"]
	identity = plain > 0 || !named && (!hasAny || any > 0)
	for _, coding := range Codings {
		if q := of(coding); q > 0 && q >= plain {
			codings = append(codings, coding)
		}
	}
	slices.SortStableFunc(codings, func(a, b string) int { return cmp.Compare(of(b), of(a)) })
	return codings, identity
}

// weight returns the value of q in the parameters of a coding. What is no weight makes it
// unacceptable: who sends that does not know what is meant.
func weight(parameters string) float64 {
	for p := range strings.SplitSeq(parameters, ";") {
		name, value, ok := strings.Cut(strings.Trim(p, " \t"), "=")
		if !ok || !strings.EqualFold(strings.Trim(name, " \t"), "q") {
			continue
		}
		q, err := strconv.ParseFloat(strings.Trim(value, " \t"), 64)
		if err != nil || !(0 <= q && q <= 1) {
			return 0
		}
		return q
	}
	return 1
}

// quality of Brotli, at which it is about as fast as gzip is by default.
const quality = 5

// zstdEncoder is made when it is needed first.
var zstdEncoder = sync.OnceValue(func() *zstd.Encoder {
	encoder, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1))
	if err != nil {
		panic(err) // the options are wrong
	}
	return encoder
})

// Compress returns content compressed by a coding.
func Compress(coding string, content []byte) []byte {
	if coding == "zstd" {
		return zstdEncoder().EncodeAll(content, nil)
	}

	var text bytes.Buffer
	var w io.WriteCloser
	if coding == "br" {
		w = brotli.NewWriterLevel(&text, quality)
	} else {
		w, _ = gzip.NewWriterLevel(&text, gzip.DefaultCompression)
	}
	_, _ = w.Write(content) // a buffer has no errors
	_ = w.Close()
	return text.Bytes()
}
