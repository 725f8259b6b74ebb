package compress

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/zstd"
)

func TestAccepted(t *testing.T) {
	tests := []struct{ lines, want string }{
		{"", "[] true"},
		{" , ", "[] true"},
		{"gzip", "[gzip] true"},
		{"gzip, deflate, br, zstd", "[br zstd gzip] true"},
		{"gzip|br", "[br gzip] true"},
		{"X-GZIP", "[gzip] true"},
		{"gzip;q=1, br;q=0.5", "[gzip br] true"},
		{"gzip ; Q=0.8 , br;q=0.8,zstd; q=0.9", "[zstd br gzip] true"},
		{"br;q=0, gzip", "[gzip] true"},
		{"br;q=0.000", "[] true"},
		{"*", "[br zstd gzip] true"},
		{"*;q=0", "[] false"},
		{"br, *;q=0", "[br] false"},
		{"*;q=0, identity", "[] true"},
		{"gzip, *;q=0.5", "[gzip br zstd] true"},
		{"identity", "[] true"},
		{"identity;q=0", "[] false"},
		{"gzip, identity;q=0", "[gzip] false"},
		{"identity, gzip;q=0.5", "[] true"},
		{"identity;q=0.5, gzip;q=0.4, br;q=0.6", "[br] true"},
		{"gzip;q=x", "[] true"},
		{"gzip;q=2", "[] true"},
		{"gzip;q=NaN", "[] true"},
		{"gzip;level=9", "[gzip] true"},
		{"deflate, compress", "[] true"},
	}
	for _, tt := range tests {
		codings, identity := Accepted(strings.Split(tt.lines, "|"))
		if got := fmt.Sprint(codings, identity); got != tt.want {
			t.Errorf("%q: %s, want %s", tt.lines, got, tt.want)
		}
	}
	if codings, identity := Accepted(nil); codings != nil || !identity {
		t.Errorf("without the field: %v, %v", codings, identity)
	}
}

// A coding that is chosen has a weight, and none that is left out has a greater one.
func FuzzAccepted(f *testing.F) {
	f.Add("gzip;q=1, *;q=0, identity;q=0.5")
	f.Fuzz(func(t *testing.T, line string) {
		codings, identity := Accepted([]string{line})
		if again, _ := Accepted([]string{strings.ToUpper(line)}); !slices.Equal(again, codings) && strings.EqualFold(strings.ToUpper(line), line) {
			t.Errorf("%q: %v, in capitals %v", line, codings, again)
		}
		if both, stays := Accepted([]string{line, "br;q=0, zstd;q=0, gzip;q=0"}); both != nil || stays != identity {
			t.Errorf("%q: what is refused is chosen: %v, %v", line, both, stays)
		}
	})
}

func TestCompress(t *testing.T) {
	text := []byte(strings.Repeat("some text, ", 1000))
	readers := map[string]func(io.Reader) (io.Reader, error){
		"br":   func(r io.Reader) (io.Reader, error) { return brotli.NewReader(r), nil },
		"gzip": func(r io.Reader) (io.Reader, error) { return gzip.NewReader(r) },
		"zstd": func(r io.Reader) (io.Reader, error) { return zstd.NewReader(r) },
	}
	for _, coding := range Codings {
		packed := Compress(coding, text)
		r, err := readers[coding](bytes.NewReader(packed))
		if err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(r); err != nil || !bytes.Equal(got, text) || len(packed) > 1000 {
			t.Errorf("%s: %d bytes, %v", coding, len(packed), err)
		}
	}
}

func BenchmarkCompress(b *testing.B) {
	text := []byte(strings.Repeat("some text, ", 10_000))
	for _, coding := range Codings {
		b.Run(coding, func(b *testing.B) {
			b.SetBytes(int64(len(text)))
			for b.Loop() {
				Compress(coding, text)
			}
		})
	}
}
