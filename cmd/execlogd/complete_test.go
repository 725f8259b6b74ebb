package main

import (
	"io"
	"strings"
	"testing"
)

func TestComplete(t *testing.T) {
	t.Setenv("PATH", "")
	tests := []struct {
		line string // the last word is being typed
		want string // the words that are offered
	}{
		{"", "init run check log relay reload retry trigger watch why"},
		{"w", "watch why"},
		{"-ho", "-host"},
		{"--ho", "--host"},
		{"-log-level ", "debug error info warn"},
		{"-log-level=w", "-log-level=warn"},
		{"-log-level = w", "warn"}, // as bash splits it
		{"-log-level =", "debug error info warn"},
		{"-access-log-format ", "combined json vhost_combined"},
		{"-editor ", "idea vscode zed"},
		{"-editor=v", "-editor=vscode"},
		{"-static=", "-static=false -static=true"},
		{"-config ", ""}, // a file
		{"run complete -on-", ""},
		{"log -", "-cluster -control -dead -f -json"},
		{"run -on-", "-on-busy -on-failure-run -on-success"},
		{"run -on-busy re", "restart"},
		{"run -match -on- -per f", "file"}, // -on- is the pattern
		{"run -per f", "file"},
		{"run -restart -events mod", "modify"},
		{"run make -on-", ""}, // a flag of make
		{"why -postp", ""},
		{"why run -postp", "-postpone"},
		{"nonsense -log-l", ""},
	}
	for _, tt := range tests {
		var out strings.Builder
		if err := run(t.Context(), append([]string{"complete"}, strings.Split(tt.line, " ")...), &out, io.Discard); err != nil {
			t.Fatal(err)
		}
		var words []string
		for line := range strings.Lines(out.String()) {
			word, _, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "\t")
			words = append(words, word)
		}
		if got := strings.Join(words, " "); got != tt.want {
			t.Errorf("%q: got %q, want %q", tt.line, got, tt.want)
		}
	}
}
