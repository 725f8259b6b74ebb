package config

import "strings"

// Nearest returns the word that was probably meant by a wrong one; empty when none
// is similar enough.
func Nearest(wrong string, words []string) string {
	plain := strings.ReplaceAll(strings.ToLower(wrong), "-", "_")
	best, least := "", 1+min(2, len(plain)/3) // more edits make it another word

	for _, w := range words {
		lower := strings.ToLower(w)
		if longer := len(lower) - len(plain); longer >= least || -longer >= least {
			continue // it takes at least as many edits
		}

		if d := distance(plain, lower); d < least {
			best, least = w, d
		}
	}

	return best
}

// distance is the number of edits that make one word of the other: a letter is
// inserted, deleted or replaced, or two neighbours are swapped (the optimal string
// alignment distance).
func distance(a, b string) int {
	before, last, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}

	for i := range len(a) {
		before, last, row = last, row, before
		row[0] = i + 1
		for j := range len(b) {
			d := last[j]
			if a[i] != b[j] {
				d = 1 + min(d, last[j+1], row[j])
			}
			if i > 0 && j > 0 && a[i] == b[j-1] && a[i-1] == b[j] {
				d = min(d, 1+before[j-1])
			}
			row[j+1] = d
		}
	}
	return row[len(b)]
}
