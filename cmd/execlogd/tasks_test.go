package main

import (
	"context"
	"errors"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/execlog/execlogd/job"
)

func TestMain(m *testing.M) {
	job.Supervise()
	// A supervisor process is this program, which the race detector keeps for a second.
	os.Setenv("GORACE", strings.Join([]string{os.Getenv("GORACE"), "atexit_sleep_ms=0"}, " "))
	playRole()
	// Daemons have their control sockets here, and not among the user's.
	dir, err := os.MkdirTemp("", "execlogd-test-")
	if err != nil {
		panic(err)
	}
	os.Setenv("RUNTIME_DIRECTORY", dir)
	goleak.VerifyTestMain(m, goleak.Cleanup(func(status int) {
		os.RemoveAll(dir)
		os.Exit(status)
	}))
}

func TestTasksStopOneAfterTheOther(t *testing.T) {
	broken := errors.New("broken")
	tests := []struct {
		name    string
		fails   string // the task that fails by itself after a second
		want    []string
		wantErr error
	}{
		{"told to stop", "", []string{"watch", "serve"}, nil},
		{"the last one fails", "serve", []string{"serve", "watch"}, broken},
		{"the first one fails", "watch", []string{"watch", "serve"}, broken},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				var ended []string
				work := func(name string) task {
					return task{name, func(ctx context.Context) error {
						if name == tt.fails {
							time.Sleep(time.Second)
							ended = append(ended, name)
							return broken
						}
						<-ctx.Done()
						time.Sleep(time.Second) // what stops later must wait for this
						ended = append(ended, name)
						return nil
					}}
				}
				err := runTasks(ctx, work("watch"), work("serve"))
				if !slices.Equal(ended, tt.want) || !errors.Is(err, tt.wantErr) {
					t.Errorf("ended %v with %v, want %v with %v", ended, err, tt.want, tt.wantErr)
				}
			})
		})
	}
}
