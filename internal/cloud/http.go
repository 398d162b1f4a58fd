package cloud

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"time"
)

// MetadataURL is where clouds have their metadata service.
const MetadataURL = "http://169.254.169.254"

const (
	// CallTimeout bounds one HTTP call, its answer included.
	CallTimeout = 5 * time.Second
	// MaxAnswer is how long the body of one answer may be, in bytes, as it comes
	// out of the transport. It holds for 1000 nodes with long names.
	MaxAnswer  = 1 << 20
	maxHeaders = 64 << 10
)

// NewHTTPClient returns a client for what the platform offers: its metadata
// service and its API. A call ends within CallTimeout, an answer longer than
// MaxAnswer fails, a redirect is an answer with a wrong status, and no proxy is
// used: the environment of an initrd is the host's to write.
func NewHTTPClient() *http.Client {
	return &http.Client{
		Timeout:       CallTimeout,
		Transport:     bounded{&http.Transport{DisableKeepAlives: true, MaxResponseHeaderBytes: maxHeaders}},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// Get reads the answer at url, with one header if it is named. Of an answer with
// a status outside of 200 to 299 there is the status only.
func Get(ctx context.Context, client *http.Client, url, header, value string) (body []byte, status int, err error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, 0, err
	}
	if header != "" {
		request.Header.Set(header, value)
	}
	response, err := client.Do(request)
	if err != nil {
		return nil, 0, err
	}
	defer response.Body.Close()
	if response.StatusCode/100 == 2 {
		body, err = io.ReadAll(response.Body)
	}
	return body, response.StatusCode, err
}

// bounded makes answers end in an error where they are longer than MaxAnswer.
type bounded struct{ http.RoundTripper }

func (b bounded) RoundTrip(r *http.Request) (*http.Response, error) {
	response, err := b.RoundTripper.RoundTrip(r)
	if err == nil {
		response.Body = &boundedBody{ReadCloser: response.Body, left: MaxAnswer}
	}
	return response, err
}

type boundedBody struct {
	io.ReadCloser
	left int64
}

// Read reads up to one byte more than is allowed, to tell an answer that is too
// long from one that just fits.
func (b *boundedBody) Read(p []byte) (int, error) {
	if b.left < 0 {
		return 0, fmt.Errorf("the answer is longer than %d bytes", MaxAnswer)
	}
	n, err := b.ReadCloser.Read(p[:min(int64(len(p)), b.left+1)])
	if b.left -= int64(n); b.left < 0 {
		return n - 1, fmt.Errorf("the answer is longer than %d bytes", MaxAnswer)
	}
	return n, err
}
