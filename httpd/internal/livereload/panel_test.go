package livereload

import (
	"math"
	"regexp"
	"strconv"
	"testing"
)

// pair matches two colours, for a light and for a dark page.
var pair = regexp.MustCompile(`(background|color):light-dark\((#[0-9a-f]+),(#[0-9a-f]+)\)`)

// Each text of the panel can be read on each of its backgrounds (WCAG 2, 1.4.3).
func TestPanelHasContrast(t *testing.T) {
	var texts, backgrounds [][]string
	for _, m := range pair.FindAllStringSubmatch(panelJS, -1) {
		if m[1] == "color" {
			texts = append(texts, m[2:])
		} else {
			backgrounds = append(backgrounds, m[2:])
		}
	}
	if len(texts) < 8 || len(backgrounds) < 3 {
		t.Fatalf("found %d colours of texts, and %d of backgrounds", len(texts), len(backgrounds))
	}
	for _, text := range texts {
		for scheme, colour := range text {
			if ratio := contrast(t, colour, backgrounds[0][scheme]); ratio < 4.5 {
				t.Errorf("%s on %s has a contrast of %.1f, want 4.5", colour, backgrounds[0][scheme], ratio)
			}
		}
	}
	for _, background := range backgrounds {
		for scheme, colour := range background {
			if ratio := contrast(t, texts[0][scheme], colour); ratio < 4.5 {
				t.Errorf("%s on %s has a contrast of %.1f, want 4.5", texts[0][scheme], colour, ratio)
			}
		}
	}
}

func contrast(t *testing.T, a, b string) float64 {
	light, dark := luminance(t, a), luminance(t, b)
	if light < dark {
		light, dark = dark, light
	}
	return (light + 0.05) / (dark + 0.05)
}

func luminance(t *testing.T, colour string) float64 {
	t.Helper()
	hex := colour[1:]
	if len(hex) == 3 {
		hex = string([]byte{hex[0], hex[0], hex[1], hex[1], hex[2], hex[2]})
	}
	n, err := strconv.ParseUint(hex, 16, 32)
	if err != nil || len(hex) != 6 {
		t.Fatalf("%s is no colour: %v", colour, err)
	}
	linear := func(shade uint64) float64 {
		c := float64(shade&0xff) / 255
		if c <= 0.04045 {
			return c / 12.92
		}
		return math.Pow((c+0.055)/1.055, 2.4)
	}
	return 0.2126*linear(n>>16) + 0.7152*linear(n>>8) + 0.0722*linear(n)
}
