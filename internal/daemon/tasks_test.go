package daemon

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

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
