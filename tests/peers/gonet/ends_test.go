package gonet

import (
	"bytes"
	"io"
	"testing"
)

// Each way in which the server's answer can end, as the caller sees it through the proxy.

func TestTrailersOnly(t *testing.T) {
	a := mustCall(t, "TrailersOnly")
	if a.status != "5" || a.message != "nothing here" || !a.trailersOnly || len(a.messages) != 0 {
		t.Errorf("%+v", a)
	}
}

func TestTrailersWithoutAMessage(t *testing.T) {
	a := mustCall(t, "NoMessage")
	if a.status != "9" || a.message != "not now" || len(a.messages) != 0 {
		t.Errorf("%+v", a)
	}
}

func TestResetBeforeTheHead(t *testing.T) {
	// net/http resets with INTERNAL_ERROR, which is INTERNAL in gRPC's table.
	a := mustCall(t, "ResetBeforeHead")
	if a.status != "13" || !a.trailersOnly {
		t.Errorf("%+v", a)
	}
}

func TestResetAfterAMessage(t *testing.T) {
	a := mustCall(t, "ResetAfterHead")
	if a.status != "13" || len(a.messages) != 1 || string(a.messages[0]) != "half an answer" {
		t.Errorf("%+v", a)
	}
}

// The caller has more to send than anybody reads. The answer is whole, and must reach it whole.
func TestAnswerBeforeTheRequestEnds(t *testing.T) {
	reader, writer := io.Pipe()
	defer writer.Close()
	go func() {
		for writeFrame(writer, make([]byte, 1<<16)) == nil {
		}
	}()
	a, err := call(t.Context(), client(t), "Early", reader)
	if err != nil || a.status != "0" || len(a.messages) != 1 || string(a.messages[0]) != "I know already" {
		t.Errorf("%+v, %v", a, err)
	}
}

// More than a listener takes: the proxy refuses while the caller sends.
func TestMessageOverTheLimit(t *testing.T) {
	var body bytes.Buffer
	if err := writeFrame(&body, make([]byte, 5<<20)); err != nil {
		t.Fatal(err)
	}
	a, err := call(t.Context(), client(t), "Sink", &body)
	if err != nil || a.status != "8" {
		t.Errorf("%+v, %v", a, err)
	}
}

func mustCall(t *testing.T, method string) answer {
	t.Helper()
	var body bytes.Buffer
	if err := writeFrame(&body, []byte("hello")); err != nil {
		t.Fatal(err)
	}
	a, err := call(t.Context(), client(t), method, &body)
	if err != nil {
		t.Fatal(err)
	}
	return a
}
