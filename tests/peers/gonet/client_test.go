package gonet

import (
	"context"
	"io"
	"net/http"
	"os"
	"testing"
	"time"
)

// client is one connection to the proxy, as long as nothing closes it.
func client(t *testing.T) *http.Client {
	t.Helper()
	transport := &http.Transport{Protocols: plaintextHTTP2()}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, Timeout: time.Minute}
}

// open starts a call, and returns once the head of the answer is there.
func open(ctx context.Context, c *http.Client, method string, body io.Reader, headers ...string) (*http.Response, error) {
	url := "http://" + os.Getenv("PROXY") + "/gonet.Test/" + method
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, url, body)
	if err != nil {
		return nil, err
	}
	request.Header.Set("content-type", "application/grpc")
	request.Header.Set("te", "trailers")
	for i := 0; i < len(headers); i += 2 {
		request.Header.Set(headers[i], headers[i+1])
	}
	return c.Do(request)
}

// answer is all that there is to know of a call that has ended.
type answer struct {
	messages [][]byte
	status   string
	message  string
	// trailersOnly is whether the status came in the head.
	trailersOnly bool
}

// call makes a whole call.
func call(ctx context.Context, c *http.Client, method string, body io.Reader, headers ...string) (answer, error) {
	response, err := open(ctx, c, method, body, headers...)
	if err != nil {
		return answer{}, err
	}
	defer response.Body.Close()
	return finish(response)
}

// finish reads the rest of an answer.
func finish(response *http.Response) (answer, error) {
	var a answer
	for {
		message, err := readFrame(response.Body)
		if err == io.EOF {
			break
		}
		if err != nil {
			return a, err
		}
		a.messages = append(a.messages, message)
	}
	fields := response.Trailer
	if response.Header.Get("grpc-status") != "" {
		fields, a.trailersOnly = response.Header, true
	}
	a.status, a.message = fields.Get("grpc-status"), fields.Get("grpc-message")
	return a, nil
}

// eventually waits for what must become true by itself.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !holds(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within 10 s: %s", what)
		}
	}
}
