"""Whose interop clients and servers there are, how each is started, and which cases each knows.

Cases that need TLS or Google's credentials are no part of it, nor are three of grpc-java's that fail against every server at
hand: cacheable_unary asks with GET, and client_compressed_unary and client_compressed_streaming begin with a probe that only
a server which refuses a wrong compression flag passes.
"""

from dataclasses import dataclass

import harness

# The clients' own load balancing policy that reads ORCA reports; without it these two cases fail against any server.
ORCA = {"service_config_json": '{"loadBalancingConfig":[{"test_backend_metrics_load_balancer":{}}]}'}
SOAK = {"soak_iterations": "200", "soak_overall_timeout_seconds": "60"}
# By case, the options that it needs.
CASES: dict[str, dict[str, str]] = {
    "empty_unary": {},
    "large_unary": {},
    "client_streaming": {},
    "server_streaming": {},
    "ping_pong": {},
    "empty_stream": {},
    "timeout_on_sleeping_server": {},
    "cancel_after_begin": {},
    "cancel_after_first_response": {},
    "status_code_and_message": {},
    "special_status_message": {},
    "custom_metadata": {},
    "unimplemented_method": {},
    "unimplemented_service": {},
    "pick_first_unary": {},
    "orca_per_rpc": ORCA,
    "orca_oob": ORCA,
    "rpc_soak": SOAK,
    "channel_soak": SOAK,
}
# grpc-go's client makes its soak calls over several threads; grpc-java's knows no such option.
GO_CASES = CASES | {case: SOAK | {"soak_num_threads": "4"} for case in ("rpc_soak", "channel_soak")}
JAVA_CASES = CASES | {
    "server_compressed_unary": {},
    "client_compressed_unary_noprobe": {},
    "server_compressed_streaming": {},
    "client_compressed_streaming_noprobe": {},
    "very_large_request": {},
}


@dataclass(frozen=True)
class Client:
    command: list[str]
    cases: dict[str, dict[str, str]]

    def call(self, case: str, port: int) -> list[str]:
        options = {"server_host": "127.0.0.1", "server_port": str(port), "test_case": case} | self.cases[case]
        return self.command + [f"--{name}={value}" for name, value in options.items()]


def clients() -> dict[str, Client]:
    java = [*java_class("TestServiceClient"), "--use_tls=false"]
    return {
        "grpc-go": Client([harness.installed("bin/client")], GO_CASES),
        "grpc-java": Client(java, JAVA_CASES),
        # The same calls over another HTTP/2 stack than netty's.
        "grpc-java with okhttp": Client([*java, "--use_okhttp=true"], JAVA_CASES),
    }


def server(name: str, port: int) -> list[str]:
    if name == "grpc-go":
        return [harness.installed("bin/server"), f"--port={port}"]
    return [*java_class("TestServiceServer"), "--use_tls=false", f"--port={port}"]


def java_class(name: str) -> list[str]:
    # Short-lived, and two at once on two cores: no time to optimise, no threads to collect garbage.
    java = [harness.packaged("java", "default-jre-headless"), "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC"]
    return [*java, "-cp", f"{harness.installed('java')}/*", f"io.grpc.testing.integration.{name}"]
