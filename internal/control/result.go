package control

// A Result is the answer of a daemon to a request for something that may fail, a run or a
// reload, as JSON.
type Result struct {
	Failure string `json:"failure,omitempty"` // why it has failed, or did not begin; empty if it succeeded
	Status  int    `json:"status"`            // the exit status for the command that asked
}
