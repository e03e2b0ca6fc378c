"""curl in front of the proxy: calls with frames of our own making, and all that somebody tries with curl that is no call.

`run.py`. What curl is told is also what a person is told who does not know yet that this port speaks gRPC only.
"""

import argparse
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
import echo
import harness

H2 = "--http2-prior-knowledge"
GRPC = ["--header", "content-type: application/grpc", "--header", "te: trailers"]
# The body from standard input as it comes.
UNTOLD_LENGTH = ["--upload-file", "-", "--request", "POST"]
LIMIT = 60
MEBIBYTE = 1 << 20
# gRPC's numbers.
INVALID_ARGUMENT, UNIMPLEMENTED = "3", "12"
# Debian's curl (7.88) loses an answer that is followed by RST_STREAM, NO_ERROR or not, before the request's end was sent. So a
# refusal must leave a short request the time to end, and whether it does shows only in many tries.
TIMES = 20


def main() -> int:
    argparse.ArgumentParser(description=__doc__).parse_args()
    tally = harness.Tally("curl")
    with (
        harness.workshop(tally) as folder,
        harness.echo_backend(folder) as server_port,
        harness.in_front(folder, server_port) as proxy,
    ):
        curl = Curl(folder, proxy.port)
        calls(tally, curl)
        no_calls(tally, curl)
    return tally.close()


@dataclass(frozen=True)
class Answer:
    version: str
    # Or what curl has to say, if there was no answer for it.
    status: str
    # Trailers among them: curl writes both into one file.
    headers: dict[str, str]
    body: bytes


class Curl:
    def __init__(self, folder: Path, port: int):
        self.url = f"http://127.0.0.1:{port}"
        self.head, self.answer = folder / "head", folder / "answer"
        self.command = [harness.packaged("curl", "curl"), "--silent", "--show-error", "--max-time", str(LIMIT)]
        self.command += ["--dump-header", self.head, "--output", self.answer]

    def __call__(self, path: str, *options: str, body: bytes | None = None) -> Answer:
        self.answer.unlink(missing_ok=True)
        command = [*self.command, *options, self.url + path]
        if body is not None and UNTOLD_LENGTH[0] not in options:
            command += ["--data-binary", "@-"]
        done = subprocess.run(command, input=body or b"", stderr=subprocess.PIPE)
        if done.returncode:
            return Answer("", done.stderr.decode().strip(), {}, b"")
        first, *lines = [line for line in self.head.read_text().splitlines() if line]
        version, status, *_ = first.split(" ")
        headers = dict(line.split(": ", 1) for line in lines)
        return Answer(version, status, headers, self.answer.read_bytes() if self.answer.exists() else b"")


def calls(tally, curl):
    message = echo.framed(echo.chunk(b"x" * 1000))
    large = echo.framed(echo.chunk(b"x" * 3 * MEBIBYTE))
    for name, body, options in [
        ("a call", message, []),
        ("a large call", large, []),
        ("a large call that does not tell its length", large, UNTOLD_LENGTH),
    ]:
        answer = curl(echo.UNARY, H2, *GRPC, *options, body=body)
        tally.check(f"{name}: HTTP/2 200", (answer.version, answer.status) == ("HTTP/2", "200"), f"{answer.headers}")
        tally.check(f"{name}: status 0 in the trailers", answer.headers.get("grpc-status") == "0", f"{answer.headers}")
        tally.check(f"{name}: the message comes back", answer.body == body, f"{len(answer.body)} bytes")
    for name, path, body, status in [
        # Nothing to upload: curl 7.88 now and then waits for ever when it has the whole answer before it has sent its body, past
        # the proxy as well.
        ("no such method", "/portunus.test.Echo/None", b"", UNIMPLEMENTED),
        ("a body that is not framed", echo.UNARY, b"no gRPC message", INVALID_ARGUMENT),
        ("an end in the middle of a message", echo.UNARY, message[:-1], INVALID_ARGUMENT),
    ]:
        found = {refusal(curl(path, H2, *GRPC, body=body)) for _ in range(TIMES)}
        tally.check(f"{name}: status {status} alone, {TIMES} times", found == {("200", status, b"")}, f"{found}")


def refusal(answer) -> tuple[str, str | None, bytes]:
    return answer.status, answer.headers.get("grpc-status"), answer.body


def no_calls(tally, curl):
    no_length = ["--header", "transfer-encoding: chunked"]
    for name, status, options, body in [
        ("a GET over HTTP/2", "415", [H2], None),
        ("a HEAD over HTTP/2", "415", [H2, "--head"], None),
        ("a form over HTTP/2", "415", [H2], b"a=b"),
        ("JSON over HTTP/2", "415", [H2, "--header", "content-type: application/json"], b"{}"),
        ("a GET that says it is gRPC", "405", [H2, *GRPC], None),
        ("a GET over HTTP/1.1", "505", ["--http1.1"], None),
        ("a POST over HTTP/1.1", "505", ["--http1.1", *GRPC], b"\0\0\0\0\0"),
        ("a body in chunks over HTTP/1.1", "505", ["--http1.1", *no_length, *GRPC], b"\0\0\0\0\0"),
        ("an upgrade from HTTP/1.1", "505", ["--http2"], None),
    ]:
        found = {curl(echo.UNARY, *options, body=body).status for _ in range(TIMES)}
        tally.check(f"{name}: {status}, {TIMES} times", found == {status}, f"{found}")


if __name__ == "__main__":
    sys.exit(main())
