package control

// A TriggerResult is the answer of a daemon to a request for a run, as JSON.
type TriggerResult struct {
	Failure string `json:"failure,omitempty"` // why the run has failed, or did not begin; empty if it succeeded
	Status  int    `json:"status"`            // the exit status for the command that asked
}
