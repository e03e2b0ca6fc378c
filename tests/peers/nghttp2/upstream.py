"""nghttpd as an upstream. It serves files: framed ones with gRPC's content type and trailers, and all that is no gRPC.

The caller is grpcio, so that every answer is read as a gRPC client reads it.
"""

import callers
import echo
import grpc
import harness

SERVICE = "peers.Files"
LARGE_REQUEST = bytes(100_000)
LARGE = bytes(range(256)) * 4096 * 3
CALL_LIMIT = 30
# What nghttpd is started with, besides what it always needs.
SERVERS = {
    "nghttpd": [],
    "nghttpd with padding": ["--padding", "255"],
    "nghttpd with windows of 1 KiB": ["--window-bits", "10", "--connection-window-bits", "10"],
    "nghttpd with one stream at a time": ["--max-concurrent-streams", "1"],
    "nghttpd with a header table of no bytes": ["--encoder-header-table-size", "0", "--header-table-size", "0"],
}
AT_ONCE = 20


def check(tally, folder):
    files = folder / "files"
    (files / SERVICE).mkdir(parents=True)
    (files / SERVICE / "Large.grpc").write_bytes(echo.framed(LARGE))
    (files / SERVICE / "Page.html").write_text("<p>This is no gRPC.")
    empty = folder / "empty.bin"
    empty.write_bytes(echo.framed(b""))
    types = folder / "mime.types"
    types.write_text("application/grpc grpc\ntext/html html\n")
    command = [harness.packaged("nghttpd", "nghttp2-server"), "--no-tls", "--address", "127.0.0.1"]
    command += ["--htdocs", files, "--mime-types-file", types]
    command += ["--trailer", "grpc-status: 0", "--trailer", "x-server: nghttpd"]
    for name, options in SERVERS.items():
        server_port = harness.free_port()
        with harness.Child("nghttpd", [*command, *options, server_port], folder) as server:
            server.wait_port(server_port)
            with harness.in_front(folder, server_port) as proxy:
                answers(tally, name, f"127.0.0.1:{proxy.port}")
                # Echo's server refuses heads as long as nghttp makes them for this; nghttpd takes them.
                path = f"/{SERVICE}/Large.grpc"
                callers.call(tally, f"{name}: long heads", proxy.port, path, empty, ["--continuation"])


def answers(tally, name, address):
    with grpc.insecure_channel(address, [("grpc.max_receive_message_length", -1)]) as channel:
        calls = [start(channel, "Large.grpc", LARGE_REQUEST) for _ in range(AT_ONCE)]
        wrong = [problem for call in calls if (problem := wrong_with(call))]
        many = f"{name}: {AT_ONCE} files of {len(LARGE)} bytes at once"
        tally.check(many, not wrong, f"{len(wrong)} failed, such as {wrong[:1]}")
        # 404 with trailers that say OK, and 200 with a content type of its own: the HTTP answer counts, not the trailers.
        status(tally, f"{name}: no such file", channel, "None.grpc", grpc.StatusCode.UNIMPLEMENTED)
        status(tally, f"{name}: a web page", channel, "Page.html", grpc.StatusCode.UNKNOWN)


def start(channel, method, request):
    return channel.unary_unary(f"/{SERVICE}/{method}").future(request, timeout=CALL_LIMIT)


def wrong_with(call) -> str:
    if call.code() != grpc.StatusCode.OK:
        return f"{call.code()}: {call.details()}"
    if call.result() != LARGE:
        return f"{len(call.result())} bytes, not those of the file"
    trailers = dict(call.trailing_metadata())
    return "" if trailers.get("x-server") == "nghttpd" else f"trailers {trailers}"


def status(tally, name, channel, method, expected):
    call = start(channel, method, b"")
    head = call.initial_metadata()
    ok = call.code() == expected and not head
    tally.check(name, ok, f"{call.code()}: {call.details()}, head {head}, not {expected} in trailers alone")
