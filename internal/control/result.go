package control

import "time"

// A Result is the answer of a daemon to a request for something that may fail, a run or a
// reload, as JSON.
type Result struct {
	Failure string `json:"failure,omitempty"` // why it has failed, or did not begin; empty if it succeeded
	Status  int    `json:"status"`            // the exit status for the command that asked
}

// A Place is the answer of a daemon to the question where it is at work, as JSON.
type Place struct {
	Directories []string `json:"directories"` // of its configuration file, its site and its routes, absolute
}

// A DeadJob is a job of a queue that has failed as often as it may.
type DeadJob struct {
	ID      uint64    `json:"id"`
	Queue   string    `json:"queue"`
	Paths   []string  `json:"paths"`  // absolute, or none if the daemon has no such queue
	Failed  int       `json:"failed"` // how often
	Time    time.Time `json:"time"`
	Machine string    `json:"machine"`
	Failure string    `json:"failure"`
	Output  string    `json:"output"` // the end of what its command has written
}
