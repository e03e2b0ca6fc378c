package gonet

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strconv"
	"sync"
	"testing"
	"time"
)

// Eight callers on one connection: every byte comes back, and to whom it belongs.
func TestConcurrentCalls(t *testing.T) {
	const callers, each = 8, 250
	c := client(t)
	together(t, callers, func(caller int) error {
		random := rand.New(rand.NewPCG(1, uint64(caller)))
		for i := range each {
			if err := echoes(t.Context(), c, pattern(caller*each+i, random.IntN(64<<10))); err != nil {
				return fmt.Errorf("call %d: %w", i, err)
			}
		}
		return nil
	})
}

// One caller in three goes away again and again, at any moment. The others notice nothing, and the server is left with no call.
// It goes away no more often than a person's program does: a proxy may close a connection on which streams are opened only to be
// reset, and is tested for that elsewhere.
func TestCancelsInTheMiddle(t *testing.T) {
	const callers, each = 12, 60
	c := client(t)
	together(t, callers, func(caller int) error {
		random := rand.New(rand.NewPCG(2, uint64(caller)))
		for i := range each {
			if caller%3 == 0 {
				wait := 2*time.Millisecond + time.Duration(random.IntN(40_000))*time.Microsecond
				cancelled(t.Context(), c, []string{"Hang", "Echo", "Source", "Sink"}[i%4], wait)
			} else if err := echoes(t.Context(), c, pattern(i, 20_000)); err != nil {
				return fmt.Errorf("call %d beside the cancelled ones: %w", i, err)
			}
		}
		return nil
	})
	eventually(t, "no call is open at the server", func() bool { return upstream.open.Load() == 0 })
	if err := echoes(t.Context(), c, pattern(0, 1<<20)); err != nil {
		t.Errorf("afterwards: %v", err)
	}
}

// cancelled makes a call that it gives up after `wait`, with the request still open.
func cancelled(ctx context.Context, c *http.Client, method string, wait time.Duration) {
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	reader, writer := io.Pipe()
	go func() {
		// Not without end: a server that does not read would hold the whole connection's window, and net/http's client notices no
		// cancellation while it waits for one.
		for range 10 {
			if writeFrame(writer, make([]byte, 10_000)) != nil {
				return
			}
		}
		// Nor does it while it waits for more of the body.
		<-ctx.Done()
		writer.CloseWithError(ctx.Err())
	}()
	// Whether it got an answer before it gave up is chance.
	_, _ = call(ctx, c, method, reader, "x-count", "1000")
}

func TestLargeBodiesBothWays(t *testing.T) {
	const streams, messages = 4, 24
	c := client(t)
	together(t, streams, func(stream int) error {
		reader, writer := io.Pipe()
		go func() {
			for i := range messages {
				if writeFrame(writer, pattern(stream*messages+i, 1<<20)) != nil {
					return
				}
			}
			writer.Close()
		}()
		a, err := call(t.Context(), c, "Echo", reader)
		if err != nil || a.status != "0" || len(a.messages) != messages {
			return fmt.Errorf("%d messages, status %q: %w", len(a.messages), a.status, err)
		}
		for i, message := range a.messages {
			if !bytes.Equal(message, pattern(stream*messages+i, 1<<20)) {
				return fmt.Errorf("message %d is another", i)
			}
		}
		return nil
	})
}

func TestLargeRequest(t *testing.T) {
	const messages = 64
	reader, writer := io.Pipe()
	go func() {
		for i := range messages {
			if writeFrame(writer, pattern(i, 1<<20)) != nil {
				return
			}
		}
		writer.Close()
	}()
	a, err := call(t.Context(), client(t), "Sink", reader)
	want := strconv.Itoa(messages * (5 + 1<<20))
	if err != nil || a.status != "0" || len(a.messages) != 1 || string(a.messages[0]) != want {
		t.Errorf("%q, status %q, %v; want %s bytes read", a.messages, a.status, err, want)
	}
}

// A caller that does not read holds up its own stream and no other on its connection.
func TestSlowReader(t *testing.T) {
	c := client(t)
	slow, err := open(t.Context(), c, "Source", nil, "x-count", "32")
	if err != nil {
		t.Fatal(err)
	}
	defer slow.Body.Close()
	for i := range 50 {
		if err := echoes(t.Context(), c, pattern(i, 30_000)); err != nil {
			t.Fatalf("call %d beside the slow one: %v", i, err)
		}
	}
	a, err := finish(slow)
	if err != nil || a.status != "0" || len(a.messages) != 32 {
		t.Errorf("the slow one: %d messages, status %q, %v", len(a.messages), a.status, err)
	}
}

// echoes makes one call, and says what is wrong with its answer.
func echoes(ctx context.Context, c *http.Client, message []byte) error {
	var body bytes.Buffer
	if err := writeFrame(&body, message); err != nil {
		return err
	}
	a, err := call(ctx, c, "Echo", &body)
	if err != nil {
		return err
	}
	if a.status != "0" || len(a.messages) != 1 || !bytes.Equal(a.messages[0], message) {
		return fmt.Errorf("status %q (%s), %d messages", a.status, a.message, len(a.messages))
	}
	return nil
}

// together runs `each` in as many goroutines as asked, and reports every error.
func together(t *testing.T, count int, each func(int) error) {
	t.Helper()
	var all sync.WaitGroup
	for i := range count {
		all.Add(1)
		go func() {
			defer all.Done()
			if err := each(i); err != nil {
				t.Errorf("caller %d: %v", i, err)
			}
		}()
	}
	all.Wait()
}
