package control

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
