package httpd

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"strings"
)

// ServeTLS is Serve for connections that speak TLS, of version 1.2 or later, with HTTP/2
// or HTTP/1.1 in it. The certificates are those of config, which is not changed. Pages
// connect for live reload by HTTP/1.1. A request in plain HTTP is answered with 400.
// Strict-Transport-Security, which would bind every port of the host, is sent only with
// Options.NoLiveReload, and if a rule or an upstream has it.
func (s *Server) ServeTLS(ctx context.Context, ln net.Listener, config *tls.Config) error {
	config = config.Clone()
	config.MinVersion = max(config.MinVersion, tls.VersionTLS12)
	return s.serveListener(ctx, ln, &listenerInfo{tls: config})
}

// accept has srv answer what arrives at a listener.
func (l *listenerInfo) accept(srv *http.Server, ln net.Listener) error {
	if l.tls == nil {
		return srv.Serve(ln)
	}
	srv.TLSConfig = l.tls
	return srv.ServeTLS(ln, "", "")
}

// socketOf returns the connection beneath TLS or of a laneConn, or the connection itself.
func socketOf(conn net.Conn) net.Conn {
	switch conn := conn.(type) {
	case *tls.Conn:
		return conn.NetConn()
	case *laneConn:
		return conn.TCPConn
	}
	return conn
}

// refusesCertificate reports whether the error of a handshake says that the client does not
// trust the certificate. The alerts are those of RFC 8446 that browsers send for it.
func refusesCertificate(handshake string) bool {
	for _, alert := range []string{"bad certificate", "unknown certificate", "unknown certificate authority", "expired certificate"} {
		if strings.HasSuffix(handshake, "remote error: tls: "+alert) {
			return true
		}
	}
	return false
}
