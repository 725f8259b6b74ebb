package status

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// A stream in notation: what is rendered from which moment on, in milliseconds, with
// a mark when a channel says so, ! the first and % the second; what is sent at
// which moment, - being a comment that keeps the connection alive.
func TestStreamIsPaced(t *testing.T) {
	tests := []struct{ name, rendered, want string }{
		{"the first is sent at once", "a@0", "a@0 -@14000"},
		{"a change is sent at once", "a@0 b@1000!", "a@0 b@1000 -@14000"},
		{"of either channel", "a@0 b@1000% c@2000! d@3000%", "a@0 b@1000 c@2000 d@3000 -@16000"},
		{"what nobody says is found", "a@0 b@1000", "a@0 b@2000 -@16000"},
		{"at most four a second", "a@0 b@50! c@100! d@150! e@260!", "a@0 d@250 e@500 -@14000"},
		{"the same again is not sent", "a@0 a@1000! a@2000!", "a@0 -@14000"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				start := time.Now()
				var mu sync.Mutex
				channels := [2]chan struct{}{make(chan struct{}), make(chan struct{})}
				var now atomic.Value
				now.Store("")
				go func() {
					for f := range strings.FieldsSeq(tt.rendered) {
						name, at, _ := strings.Cut(strings.TrimRight(f, "!%"), "@")
						after, err := time.ParseDuration(at + "ms")
						if err != nil {
							t.Error(err)
						}
						time.Sleep(time.Until(start.Add(after)))
						now.Store(name)
						if i := strings.IndexByte("!%", f[len(f)-1]); i >= 0 {
							mu.Lock()
							close(channels[i])
							channels[i] = make(chan struct{})
							mu.Unlock()
						}
					}
				}()
				synctest.Wait()

				var sent []string
				ctx, cancel := context.WithTimeout(t.Context(), 18*time.Second+time.Millisecond)
				defer cancel()
				changed := func() [2]<-chan struct{} {
					mu.Lock()
					defer mu.Unlock()
					return [2]<-chan struct{}{channels[0], channels[1]}
				}
				render := func() []byte {
					synctest.Wait()
					return []byte(now.Load().(string))
				}
				Stream(ctx, changed, render, func(text string) error {
					what := "-"
					if _, data, ok := strings.Cut(text, "data: "); ok {
						what = strings.TrimSuffix(data, "\n\n")
					}
					sent = append(sent, fmt.Sprintf("%s@%d", what, time.Since(start).Milliseconds()))
					return nil
				})

				if got := strings.Join(sent, " "); got != tt.want {
					t.Errorf("sent %s, want %s", got, tt.want)
				}
				if took := time.Since(start); took > 18*time.Second+time.Millisecond {
					t.Errorf("ended after %v", took)
				}
			})
		})
	}
}

// Every line of what is rendered is a line of the event, however it ends. The stream ends
// with its client.
func TestEventLines(t *testing.T) {
	never := func() (none [2]<-chan struct{}) { return none }
	var sent string
	Stream(t.Context(), never, func() []byte { return []byte("a\nb\r\nc\rd\n") }, func(text string) error {
		sent = text
		return errors.New("enough")
	})
	if want := "retry: 1000\ndata: a\ndata: b\ndata: c\ndata: d\ndata: \n\n"; sent != want {
		t.Errorf("sent %q, want %q", sent, want)
	}
}
