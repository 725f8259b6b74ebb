package httpd

// Stats are numbers of what a Server does and has done since New.
type Stats struct {
	Connections        int    // that are open, with those of pages
	RefusedConnections uint64 // above Options.MaxConnections and MaxConnectionsPerAddress
	CacheHits          uint64 // files that were served from memory
	CacheMisses        uint64 // files that were looked for on disk
}

// Stats returns the numbers of the moment.
func (s *Server) Stats() (now Stats) {
	now.Connections, now.RefusedConnections = s.conns.count()
	now.CacheHits, now.CacheMisses = s.cacheHits.Load(), s.cacheMisses.Load()
	return now
}
