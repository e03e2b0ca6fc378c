"""gRPC's frames and the messages of our Echo, by hand: for clients and servers that know HTTP/2 and nothing of gRPC.

Used by nghttp2/ and curl/. The contract is proto/protos/portunus/test/echo.proto.
"""

UNARY = "/portunus.test.Echo/Unary"
PREFIX = 5


def framed(message: bytes) -> bytes:
    """An uncompressed gRPC message with its prefix."""
    return b"\0" + len(message).to_bytes(PREFIX - 1, "big") + message


def chunk(payload: bytes) -> bytes:
    """A portunus.test.Chunk: field 1, by length."""
    return b"\x0a" + varint(len(payload)) + payload


def varint(value: int) -> bytes:
    low, rest = value & 0x7F, value >> 7
    return bytes([low | 0x80]) + varint(rest) if rest else bytes([low])
