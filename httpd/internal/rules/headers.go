package rules

import (
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
)

// A Header says which headers answers for some paths have.
type Header struct {
	For    string      // a pattern: "/*", "/assets/*", "/*.js"
	Values http.Header // in canonical form
}

// A header is a Header that was checked.
type header struct {
	Header
	pattern pattern
}

// reserved are the headers that say how an answer is sent, and what the content is that it
// has, which no rule knows.
var reserved = []string{
	"Accept-Ranges", "Age", "Allow", "Connection", "Content-Encoding", "Content-Length", "Content-Range", "Date", "Etag",
	"Keep-Alive", "Last-Modified", "Location", "Proxy-Connection", "Te", "Trailer", "Transfer-Encoding", "Upgrade",
}

func parseHeader(spec Header) (h header, err error) {
	h.Header = spec
	if h.pattern, err = parsePattern(spec.For); err != nil {
		return h, err
	}
	for name, values := range spec.Values {
		for _, value := range values {
			if err := checkField(name, value); err != nil {
				return h, err
			}
		}
	}
	return h, nil
}

// token is what the name of a header is (RFC 9110, 5.6.2).
var token = regexp.MustCompile("^[!#$%&'*+.^_`|~0-9A-Za-z-]+$")

// checkField says what is wrong with one header.
func checkField(name, value string) error {
	switch canonical := http.CanonicalHeaderKey(name); {
	case !token.MatchString(name):
		return fmt.Errorf("%q is no name of a header", name)
	case canonical == "Basic-Auth":
		return fmt.Errorf("%s: there are no passwords here, and what it is for is open to all", name)
	case strings.HasPrefix(canonical, "Access-Control-"):
		return fmt.Errorf("%s: which sites may read files is said by cors", canonical)
	case slices.Contains(reserved, canonical):
		return fmt.Errorf("%s is set by the server", canonical)
	case hasControl(value):
		return fmt.Errorf("%s: %w", canonical, errControl)
	}
	return nil
}
