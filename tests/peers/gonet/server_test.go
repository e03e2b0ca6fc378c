package gonet

import (
	"fmt"
	"io"
	"net/http"
	"strconv"
	"sync/atomic"
)

// server is an upstream with one method for each way in which an answer can end.
type server struct {
	// open counts the calls that have not ended.
	open atomic.Int64
}

func newServer() *server { return &server{} }

func (s *server) routes() http.Handler {
	mux := http.NewServeMux()
	for path, handler := range map[string]http.HandlerFunc{
		"Echo":            echo,
		"Sink":            sink,
		"Source":          source,
		"TrailersOnly":    trailersOnly,
		"NoMessage":       noMessage,
		"Hang":            hang,
		"ResetBeforeHead": resetBeforeHead,
		"ResetAfterHead":  resetAfterHead,
		"Early":           early,
	} {
		mux.HandleFunc("POST /gonet.Test/"+path, func(w http.ResponseWriter, r *http.Request) {
			s.open.Add(1)
			defer s.open.Add(-1)
			handler(w, r)
		})
	}
	return mux
}

func head(w http.ResponseWriter) {
	w.Header().Set("content-type", "application/grpc")
}

func end(w http.ResponseWriter, code int, message string) {
	w.Header().Set(http.TrailerPrefix+"grpc-status", strconv.Itoa(code))
	w.Header().Set(http.TrailerPrefix+"grpc-message", message)
}

// echo answers each message as it comes.
func echo(w http.ResponseWriter, r *http.Request) {
	head(w)
	flush(w)
	for {
		message, err := readFrame(r.Body)
		if err == io.EOF {
			end(w, 0, "")
			return
		}
		if err != nil || writeFrame(w, message) != nil {
			// Half a request: only a caller that went away may leave one here.
			panic(http.ErrAbortHandler)
		}
		flush(w)
	}
}

// sink answers with the number of bytes that it read.
func sink(w http.ResponseWriter, r *http.Request) {
	head(w)
	read, err := io.Copy(io.Discard, r.Body)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	_ = writeFrame(w, []byte(strconv.FormatInt(read, 10)))
	end(w, 0, "")
}

// source answers with as many messages of a mebibyte as x-count says.
func source(w http.ResponseWriter, r *http.Request) {
	count, _ := strconv.Atoi(r.Header.Get("x-count"))
	head(w)
	for i := range count {
		if writeFrame(w, pattern(i, 1<<20)) != nil {
			return
		}
	}
	end(w, 0, "")
}

// trailersOnly answers with one HEADERS frame that is head and end.
func trailersOnly(w http.ResponseWriter, _ *http.Request) {
	head(w)
	w.Header().Set("grpc-status", "5")
	w.Header().Set("grpc-message", "nothing here")
}

// noMessage answers with a head, then with trailers, and no message between them.
func noMessage(w http.ResponseWriter, _ *http.Request) {
	head(w)
	flush(w)
	end(w, 9, "not now")
}

// hang answers with a head, and then waits until the caller goes away.
func hang(w http.ResponseWriter, r *http.Request) {
	head(w)
	flush(w)
	<-r.Context().Done()
}

func resetBeforeHead(http.ResponseWriter, *http.Request) {
	panic(http.ErrAbortHandler)
}

func resetAfterHead(w http.ResponseWriter, _ *http.Request) {
	head(w)
	_ = writeFrame(w, []byte("half an answer"))
	flush(w)
	panic(http.ErrAbortHandler)
}

// early answers before it has read the request, and never reads it: net/http then resets the stream with NO_ERROR.
func early(w http.ResponseWriter, _ *http.Request) {
	head(w)
	_ = writeFrame(w, []byte("I know already"))
	end(w, 0, "")
}

func flush(w http.ResponseWriter) {
	if err := http.NewResponseController(w).Flush(); err != nil {
		// The caller is gone; the handler learns it from its next read or write.
		return
	}
}

// pattern is size bytes that tell message number i from all others.
func pattern(i, size int) []byte {
	message := make([]byte, size)
	copy(message, fmt.Sprintf("message %d ", i))
	for at := 64; at < size; at += 64 {
		message[at] = byte(i + at/64)
	}
	return message
}
