"""grpc-go's interop client and server with the proxy between them: every case that passes directly passes through it.

`run.py [--through proxy|relay]`. Cases that need credentials of Google's are no part of it.
"""

import argparse
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
import harness

# The client's own load balancing policy that reads ORCA reports; without it these two cases fail against any server.
ORCA = ["-service_config_json", '{"loadBalancingConfig":[{"test_backend_metrics_load_balancer":{}}]}']
SOAK = ["-soak_iterations", "200", "-soak_num_threads", "4", "-soak_overall_timeout_seconds", "60"]
CASES = {
    "empty_unary": [],
    "large_unary": [],
    "client_streaming": [],
    "server_streaming": [],
    "ping_pong": [],
    "empty_stream": [],
    "timeout_on_sleeping_server": [],
    "cancel_after_begin": [],
    "cancel_after_first_response": [],
    "status_code_and_message": [],
    "special_status_message": [],
    "custom_metadata": [],
    "unimplemented_method": [],
    "unimplemented_service": [],
    "pick_first_unary": [],
    "orca_per_rpc": ORCA,
    "orca_oob": ORCA,
    "rpc_soak": SOAK,
    "channel_soak": SOAK,
}
# grpc-go's own server never fills in the server id that this case reads.
FAILS_DIRECTLY = {"pick_first_unary"}
SLEEPERS = 200
CASE_LIMIT = 120


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--through", choices=["proxy", "relay"], default="proxy")
    through = arguments.parse_args().through
    tally = harness.Tally("interop")
    with harness.workshop(tally) as folder:
        server_port = harness.free_port()
        with harness.Child("server", [harness.installed("bin/server"), "-port", server_port], folder) as server:
            server.wait_port(server_port)
            run(tally, folder, server_port, through)
    return tally.close()


def run(tally, folder, server_port, through):
    direct = {case: call(case, server_port) for case in CASES}
    for case, error in direct.items():
        expected = case in FAILS_DIRECTLY
        tally.check(f"{case} directly", expected == bool(error), error or "passes now: take it out of FAILS_DIRECTLY")
    port = harness.free_port()
    with middle(folder, server_port, port, through):
        for case in CASES.keys() - FAILS_DIRECTLY:
            error = call(case, port)
            tally.check(f"{case} through the {through}", not error, error)
        # The deadline is 1 ms: it ends before, while and after the call reaches the proxy and the server. Each end must read
        # DEADLINE_EXCEEDED to the client, so one run proves little.
        with ThreadPoolExecutor(4) as pool:
            errors = list(filter(None, pool.map(lambda _: call("timeout_on_sleeping_server", port), range(SLEEPERS))))
        tally.check(
            f"timeout_on_sleeping_server {SLEEPERS} times", not errors, f"{len(errors)} failed, such as: {errors[:1]}"
        )
        tally.check("the path still works afterwards", not (error := call("large_unary", port)), error)


def middle(folder, server_port, port, through):
    """The proxy on `port`, or the relay in its place."""
    if through == "relay":
        return harness.relay(folder, f"127.0.0.1:{server_port}", port)
    return harness.Proxy(
        folder, Path(__file__).with_name("portunus.yaml"), {"PROXY_PORT": port}, SERVER_PORT=str(server_port)
    )


def call(case: str, port: int) -> str:
    """Runs one case; returns what went wrong, or an empty string."""
    command = [
        harness.installed("bin/client"),
        "-server_host",
        "127.0.0.1",
        "-server_port",
        str(port),
        "-test_case",
        case,
        *CASES[case],
    ]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=CASE_LIMIT)
    except subprocess.TimeoutExpired:
        return f"no end within {CASE_LIMIT} s"
    return "" if done.returncode == 0 else (done.stderr + done.stdout).strip()[-600:] or f"exit code {done.returncode}"


if __name__ == "__main__":
    sys.exit(main())
