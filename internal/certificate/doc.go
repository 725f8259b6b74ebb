// Package certificate has the certificates of a TLS server: those of files, which are
// loaded again when the files change, and those that an authority of this user makes for
// the names and addresses of this machine.
//
// Browsers do not know the authority until somebody has them trust it. What its key is good
// for is limited by constraints in its certificate (RFC 5280, 4.2.1.10): names below
// localhost, local, test, internal and home.arpa, the name that the machine had when the
// authority was made, and addresses that are not public. So whoever steals the key cannot
// pass for a site on the internet.
package certificate

import "crypto/tls"

// A Source returns the certificate for a handshake.
type Source func(*tls.ClientHelloInfo) (*tls.Certificate, error)
