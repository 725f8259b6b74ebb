// Package logging writes the daemon's log where standard error leads: short
// coloured lines on a terminal, entries with fields in systemd's journal, text or
// JSON elsewhere.
//
//	handler.go   NewHandler chooses the format; SwapHandler lets a reload replace it
//	console.go   lines about routes for a terminal, also those of `execlogd log`
//	liveline.go  a line of state below the log on a terminal
//	journal.go   journald's native protocol
//	messages.go  the messages that have an ID in the journal
//	queue.go     writing in the background, so that logging never blocks
//	text.go      text of commands, made safe for a terminal
//	phrases.go   what several messages say in the same words
//	attrs.go     the attributes and messages that the handlers treat specially
//
// All of it may be used by several goroutines at once. A Queue owns the only
// goroutine, and Close waits for it.
package logging
