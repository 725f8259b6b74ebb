package logging

// Messages that have an ID in the journal, so that an operator finds them whatever their
// text becomes, and that journalctl -x explains. HostRefused and OriginRefused are of
// package httpd.
const (
	Started       = "started"
	Stopped       = "stopped"
	Fatal         = "fatal error"
	Loaded        = "configuration loaded"
	Refused       = "configuration refused, the old one stays"
	RootGone      = "root is gone; waiting for it to come back"
	RootBack      = "root is there again"
	RootMissing   = "root is not there yet; waiting for it"
	RootThere     = "root is there"
	RootHidden    = "the sandbox of the service hides a root that is waited for: show it with BindReadOnlyPaths= in a drop-in"
	Overflowed    = "events were lost, and everything is compared"
	WatchLimit    = "watch limit reached"
	RunFailed     = "failed"
	Died          = "service has died" // a service that ended by itself
	Dropped       = "messages were dropped, as nobody read the log"
	OutputCapped  = "more output is not in the journal"
	HostRefused   = "host refused"
	OriginRefused = "origin refused"
)

// MessageIDs are the values of MESSAGE_ID (systemd.journal-fields(7)). They are in the
// catalog, packaging/systemd/execlogd.catalog, and never change.
var MessageIDs = map[string]string{
	Started:       "101e81f4d17742e2bc5dc2b80312950e",
	Stopped:       "b2b2c64274cc4323835ca08aac1a9bd8",
	Fatal:         "fb037e3df9ef4a69b3d5455aa2f7646c",
	Loaded:        "8f35a0bac7d94b2888136785426ba8b4",
	Refused:       "67007c92fda04c9bb8ea3eb9f7a336ec",
	RootGone:      "1b73166e71b843b091cae90728f4b387",
	RootBack:      "590c595e3ddf4f7196c58072e673607a",
	RootMissing:   "1b73166e71b843b091cae90728f4b387",
	RootHidden:    "1b73166e71b843b091cae90728f4b387",
	RootThere:     "590c595e3ddf4f7196c58072e673607a",
	Overflowed:    "f1b7da0f34024a9886f1ca60482832d6",
	WatchLimit:    "d664125ae72b4944a8677f1f76d7c23c",
	RunFailed:     "2b39543c41754a3a849565b4c6a13bf4",
	Died:          "d607fb61a1684c26a31b1d88b395005d",
	Dropped:       "9d1b3397a6094f3abc8195ca32214cd6",
	OutputCapped:  "4cb601b81902433fb63024fa27aa19fe",
	HostRefused:   "6d2a4134849e46a0b33a04c67a0d6408",
	OriginRefused: "6d2a4134849e46a0b33a04c67a0d6408",
}
