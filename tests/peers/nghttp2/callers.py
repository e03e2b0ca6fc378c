"""nghttp and h2load as callers of our Echo: one call with every header that comes back, then many, through windows of all sizes."""

import re
import subprocess
from pathlib import Path

import echo
import harness

CONFIG = Path(__file__).with_name("portunus.yaml")
HEADERS = ["-H", "content-type: application/grpc", "-H", "te: trailers"]
# More than the smallest window below holds, so that an answer needs several.
PAYLOAD = bytes(range(256)) * 8
LIMIT = 60
MANY = 20_000
CALLS = {
    "nghttp: a call": [],
    "nghttp: windows of 1 KiB": ["-w", "10", "-W", "10"],
    "nghttp: padded frames": ["--padding", "255"],
    "nghttp: expects 100-continue": ["--expect-continue"],
}
# The listener takes 256 calls of a connection at a time: a thousand at once must wait, and none may be lost.
LOADS = {
    f"h2load: {MANY} calls, 100 at a time on each connection": (MANY, ["-m", "100"]),
    "h2load: windows of 1 KiB": (5_000, ["-m", "100", "-w", "10", "-W", "10"]),
    "h2load: 1000 at a time on each connection": (MANY, ["-m", "1000"]),
    "h2load: a header table of no bytes": (2_000, ["-m", "20", "--header-table-size", "0"]),
}


def check(tally, folder, server_port):
    body = folder / "call.bin"
    body.write_bytes(echo.framed(echo.chunk(PAYLOAD)))
    for name, options in CALLS.items():
        with harness.in_front(folder, server_port, CONFIG) as proxy:
            call(tally, name, proxy.port, echo.UNARY, body, options)
    for name, (calls, options) in LOADS.items():
        with harness.in_front(folder, server_port, CONFIG) as proxy:
            load(tally, name, proxy, body, calls, options)


def call(tally, name, port, path, body, options):
    """One call with nghttp, which must end with an OK of gRPC's."""
    command = [harness.packaged("nghttp", "nghttp2-client"), "--no-dep", "--verbose", "--null-out", *options, *HEADERS]
    output = run([*command, "-H", ":method: POST", "-d", body, f"http://127.0.0.1:{port}{path}"])
    ended = re.search(r"recv \(stream_id=\d+\) grpc-status: 0\n.*?; END_STREAM", output, re.DOTALL)
    tally.check(name, bool(ended), f"no grpc-status 0 at the end of the stream:\n{output[-2000:]}")


def load(tally, name, proxy, body, calls, options):
    command = [harness.packaged("h2load", "nghttp2-client"), "-n", str(calls), "-c", "4", *options, *HEADERS]
    output = run([*command, "-d", body, f"http://127.0.0.1:{proxy.port}{echo.UNARY}"])
    handled = proxy.handled(calls)
    ok = f"{calls} succeeded, 0 failed, 0 errored, 0 timeout" in output and handled == {"OK": calls}
    tally.check(name, ok, f"the proxy counted {handled}; h2load said:\n{output[-2000:]}")


def run(command) -> str:
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=LIMIT)
    except subprocess.TimeoutExpired:
        return f"no end within {LIMIT} s"
    return done.stdout
