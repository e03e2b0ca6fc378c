"""Our HPACK against PyPI's `hpack` (the one of hyper-h2), both ways, with table sizes that change.

    pip install hpack==4.2.0
    cargo build -p h2-hpack --example exchange
    python hpack/tests/peers/pypi.py target/debug/examples/exchange [seed]

Prints one line and ends with 0, or shows the first difference and ends with 1. The lists are seeded: a failure comes again.
"""

import random
import subprocess
import sys

import hpack

NAMES = [
    b":path", b":authority", b":status", b":method", b"content-type", b"te", b"user-agent", b"grpc-encoding",
    b"grpc-status", b"grpc-message", b"grpc-timeout", b"x-trace-bin", b"authorization", b"cookie", b"set-cookie",
    b"x-request-id", b"x-tenant", b"date", b"server", b"vary", b"accept-encoding",
]
VALUES = [
    b"", b"0", b"200", b"POST", b"application/grpc", b"trailers", b"gzip", b"/pkg.Service/Method", b"grpc-go/1.70.0",
    b"gzip, deflate", b"agents.internal:443", b"Bearer abc.def.ghi",
]
SECRETS = {b"authorization", b"cookie", b"set-cookie", b"proxy-authorization"}
SIZES = [0, 33, 100, 300, 1000, 4096]


class Ours:
    """The example `exchange`: our encoder and decoder of one connection."""

    def __init__(self, path):
        self.process = subprocess.Popen([path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ask(self, *words):
        self.process.stdin.write(" ".join(words) + "\n")
        self.process.stdin.flush()
        return self.process.stdout.readline().rstrip("\n")

    def encode(self, fields):
        words = [w for name, value, never in fields for w in (digits(name), digits(value), str(int(never)))]
        return octets(self.ask("encode", *words))

    def decode(self, block):
        answer = self.ask("decode", digits(block))
        if answer.startswith("error"):
            raise AssertionError(answer)
        words = answer.split()
        return [(octets(n), octets(v), f == "1") for n, v, f in zip(words[::3], words[1::3], words[2::3])]

    def close(self):
        self.process.stdin.close()
        self.process.wait(timeout=10)


def digits(data):
    return data.hex() or "-"


def octets(text):
    return bytes.fromhex(text.strip("-"))


def some_fields(rng):
    fields = []
    # PyPI's decoder refuses a block that is nothing but an update, which is legal; so one field at least.
    for _ in range(rng.randrange(1, 14)):
        name = rng.choice(NAMES) if rng.random() < 0.9 else b"x-" + b"%x" % rng.getrandbits(64)
        value = rng.choice(VALUES)
        if rng.random() < 0.2:
            value = rng.randbytes(rng.choice([5, 40, 260, 5000]))
        elif rng.random() < 0.1:
            value = b"unique-%x" % rng.getrandbits(64)
        fields.append((name, value, rng.random() < 0.1))
    return fields


def is_never(field):
    return isinstance(field, hpack.NeverIndexedHeaderTuple)


def connection(path, rng):
    ours, encoder, decoder = Ours(path), hpack.Encoder(), hpack.Decoder()
    for _ in range(60):
        if rng.random() < 0.15:
            size = rng.choice(SIZES)
            assert ours.ask("size", str(size)) == "ok"
            encoder.header_table_size = size
            decoder.max_allowed_table_size = size
        fields = some_fields(rng)

        read = decoder.decode(ours.encode(fields), raw=True)
        wanted = [(name, value, never or name in SECRETS) for name, value, never in fields]
        assert [(f[0], f[1], is_never(f)) for f in read] == wanted, (read, wanted)

        block = encoder.encode(fields, huffman=rng.random() < 0.7)
        assert [field[:2] for field in ours.decode(block)] == [field[:2] for field in fields], fields
    ours.close()


def main():
    path, seed = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 1
    rng = random.Random(seed)
    for nth in range(50):
        try:
            connection(path, rng)
        except Exception as error:  # whatever it is: say where it was
            print(f"seed {seed}, connection {nth}: {type(error).__name__}: {error}")
            return 1
    print(f"pypi hpack {hpack.__version__}: 50 connections of 60 blocks each way agree (seed {seed})")
    return 0


if __name__ == "__main__":
    sys.exit(main())
