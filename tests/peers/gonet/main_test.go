// Go's net/http on both sides of the proxy: its HTTP/2 client calls, its h2c server answers, and nothing of gRPC is between them
// but the frames that these files write. run.py starts the proxy and says in $PROXY and $UPSTREAM where it stands.
package gonet

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"testing"
)

var upstream = newServer()

func TestMain(m *testing.M) {
	listener, err := net.Listen("tcp", os.Getenv("UPSTREAM"))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	go func() {
		err := (&http.Server{Handler: upstream.routes(), Protocols: plaintextHTTP2()}).Serve(listener)
		panic(err)
	}()
	os.Exit(m.Run())
}

// plaintextHTTP2 is HTTP/2 with prior knowledge, and nothing else.
func plaintextHTTP2() *http.Protocols {
	var protocols http.Protocols
	protocols.SetUnencryptedHTTP2(true)
	return &protocols
}
