package ask

import "net/http"

// idlePerHost is how many connections to a provider are kept for the next call. net/http keeps two, and dials for each further call
// of a busy hour.
const idlePerHost = 32

// Client returns a copy of given, or of one with connections of its own if given is nil.
func Client(given *http.Client) http.Client {
	if given != nil {
		return *given
	}
	return http.Client{Transport: Transport()}
}

// Transport returns a copy of http.DefaultTransport as it is now, with connections of its own. The connections of that one
// are everybody's: when anybody in the process calls CloseIdleConnections, as each httptest.Server does when it closes, net/http can
// fail a call of somebody else's, whose answer has just come. A http.DefaultTransport that was replaced is returned as it is.
func Transport() http.RoundTripper {
	t, ok := http.DefaultTransport.(*http.Transport)
	if !ok {
		return http.DefaultTransport
	}
	t = t.Clone()
	t.MaxIdleConnsPerHost = max(t.MaxIdleConnsPerHost, idlePerHost)
	return t
}
