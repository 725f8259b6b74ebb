package main

import (
	"strings"
	"testing"
)

func TestShow(t *testing.T) {
	tests := []struct{ name, stream, want string }{
		{
			"a package that passes is one line",
			`{"Action":"output","Package":"p","Test":"TestA","Output":"=== RUN   TestA\n"}
			{"Action":"output","Package":"p","Test":"TestA","Output":"    a_test.go:1: chatter\n"}
			{"Action":"pass","Package":"p","Test":"TestA"}
			{"Action":"output","Package":"p","Output":"PASS\n"}
			{"Action":"output","Package":"p","Output":"ok  \tp\t0.1s\n"}
			{"Action":"pass","Package":"p"}`,
			"ok  \tp\t0.1s\n",
		},
		{
			"a failed test has all that it wrote",
			`{"Action":"output","Package":"p","Test":"TestA","Output":"    a_test.go:1: got 1\n"}
			{"Action":"output","Package":"p","Test":"TestA","Output":"--- FAIL: TestA (0.00s)\n"}
			{"Action":"fail","Package":"p","Test":"TestA"}
			{"Action":"output","Package":"p","Output":"FAIL\tp\t0.1s\n"}
			{"Action":"fail","Package":"p"}`,
			"    a_test.go:1: got 1\n--- FAIL: TestA (0.00s)\nFAIL\tp\t0.1s\n",
		},
		{
			"a skipped test has its reason",
			`{"Action":"output","Package":"p","Test":"TestA","Output":"    a_test.go:1: no rsync\n"}
			{"Action":"output","Package":"p","Test":"TestA","Output":"--- SKIP: TestA (0.00s)\n"}
			{"Action":"skip","Package":"p","Test":"TestA"}`,
			"    a_test.go:1: no rsync\n--- SKIP: TestA (0.00s)\n",
		},
		{
			"a package without tests stays as go test says it",
			`{"Action":"output","Package":"p","Output":"?   \tp\t[no test files]\n"}
			{"Action":"skip","Package":"p"}`,
			"?   \tp\t[no test files]\n",
		},
		{
			"what does not compile is said",
			`{"ImportPath":"p [p.test]","Action":"build-output","Output":"a.go:1: undefined: b\n"}
			{"ImportPath":"p [p.test]","Action":"build-fail"}`,
			"a.go:1: undefined: b\n",
		},
		{
			"a panic shows the tests that it cut off",
			`{"Action":"output","Package":"p","Test":"TestA","Output":"panic: b\n"}
			{"Action":"fail","Package":"p"}`,
			"panic: b\n",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var got strings.Builder
			if err := show(strings.NewReader(tt.stream), &got); err != nil {
				t.Fatal(err)
			}
			if got.String() != tt.want {
				t.Errorf("got %q, want %q", got.String(), tt.want)
			}
		})
	}
}

func TestShowRefusesOtherText(t *testing.T) {
	if err := show(strings.NewReader("ok p 0.1s"), new(strings.Builder)); err == nil {
		t.Error("no error")
	}
}
