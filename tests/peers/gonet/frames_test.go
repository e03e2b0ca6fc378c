package gonet

import (
	"encoding/binary"
	"fmt"
	"io"
)

// longest is more than any message here has: a length beyond it was read from the wrong place.
const longest = 16 << 20

// writeFrame writes one uncompressed gRPC message with its prefix.
func writeFrame(w io.Writer, message []byte) error {
	framed := make([]byte, 5, 5+len(message))
	binary.BigEndian.PutUint32(framed[1:], uint32(len(message)))
	_, err := w.Write(append(framed, message...))
	return err
}

// readFrame reads one message. At the end of the stream, between two messages, it returns io.EOF.
func readFrame(r io.Reader) ([]byte, error) {
	var prefix [5]byte
	if _, err := io.ReadFull(r, prefix[:]); err != nil {
		return nil, err
	}
	length := binary.BigEndian.Uint32(prefix[1:])
	if prefix[0] != 0 || length > longest {
		return nil, fmt.Errorf("%x is no prefix of a message of ours", prefix)
	}
	message := make([]byte, length)
	if _, err := io.ReadFull(r, message); err != nil {
		return nil, fmt.Errorf("a message of %d bytes: %w", length, err)
	}
	return message, nil
}
