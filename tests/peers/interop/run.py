"""grpc-go's and grpc-java's interop clients and servers with the proxy between them: what passes directly passes through it.

`run.py [--through proxy|relay]`. A case that fails is run directly too, so that the report says whose fault it is.
"""

import argparse
import contextlib
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
import harness
import software

CONFIG = Path(__file__).with_name("portunus.yaml")
# Which client calls which server, and the cases that fail without a proxy too.
PAIRS: dict[tuple[str, str], set[str]] = {
    # grpc-go's client asks for a server id that neither server fills in.
    ("grpc-go", "grpc-go"): {"pick_first_unary"},
    ("grpc-go", "grpc-java"): {"pick_first_unary"},
    # grpc-go's server takes 4 MiB at most, and no request that is compressed.
    ("grpc-java", "grpc-go"): {
        "client_compressed_unary_noprobe",
        "client_compressed_streaming_noprobe",
        "very_large_request",
    },
    ("grpc-java", "grpc-java"): set(),
    ("grpc-java with okhttp", "grpc-java"): set(),
}
# A JVM starts in a second, and the machine has two cores.
AT_ONCE = 2
SLEEPERS = 200
CASE_LIMIT = 120


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--through", choices=["proxy", "relay"], default="proxy")
    through = arguments.parse_args().through
    tally = harness.Tally("interop")
    with harness.workshop(tally) as folder, contextlib.ExitStack() as stack:
        servers = {name: start(stack, folder, name) for name in dict.fromkeys(server for _, server in PAIRS)}
        ports = {name: middle(stack, folder / name, server_port, through) for name, server_port in servers.items()}
        clients = software.clients()
        for (client, server), failing in PAIRS.items():
            compare(tally, clients[client], f"{client} to {server}", failing, servers[server], ports[server], through)
        sleepers(tally, clients["grpc-go"], ports["grpc-go"])
    return tally.close()


def start(stack, folder, name) -> int:
    (folder / name).mkdir()
    port = harness.free_port()
    stack.enter_context(harness.Child("server", software.server(name, port), folder / name)).wait_port(port)
    return port


def middle(stack, folder, server_port, through) -> int:
    """Starts the proxy, or the relay in its place, in front of a server, and returns the port to call."""
    if through == "relay":
        port = harness.free_port()
        stack.enter_context(harness.relay(folder, f"127.0.0.1:{server_port}", port))
        return port
    return stack.enter_context(harness.in_front(folder, server_port, CONFIG)).port


def compare(tally, client, pair, failing, server_port, port, through):
    with ThreadPoolExecutor(AT_ONCE) as pool:
        errors = pool.map(lambda case: call(client, case, server_port if case in failing else port), client.cases)
        for case, error in zip(client.cases, errors, strict=True):
            if case in failing:
                tally.check(f"{pair}: {case} fails directly", bool(error), "passes now: take it out of PAIRS")
                continue
            directly = error and (call(client, case, server_port) or "passes")
            tally.check(f"{pair}: {case} through the {through}", not error, f"{error}\n    directly: {directly}")


def sleepers(tally, client, port):
    """The deadline is 1 ms: it ends before, while and after the call reaches the proxy and the server. Each end must read
    DEADLINE_EXCEEDED to the client, so one run proves little."""
    with ThreadPoolExecutor(4) as pool:
        errors = list(
            filter(None, pool.map(lambda _: call(client, "timeout_on_sleeping_server", port), range(SLEEPERS)))
        )
    tally.check(
        f"timeout_on_sleeping_server {SLEEPERS} times", not errors, f"{len(errors)} failed, such as: {errors[:1]}"
    )
    tally.check("the path still works afterwards", not (error := call(client, "large_unary", port)), error)


def call(client, case: str, port: int) -> str:
    """Runs one case; returns what went wrong, or an empty string."""
    try:
        done = subprocess.run(client.call(case, port), capture_output=True, text=True, timeout=CASE_LIMIT)
    except subprocess.TimeoutExpired:
        return f"no end within {CASE_LIMIT} s"
    return "" if done.returncode == 0 else (done.stderr + done.stdout).strip()[-600:] or f"exit code {done.returncode}"


if __name__ == "__main__":
    sys.exit(main())
