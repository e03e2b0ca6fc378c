"""grpcurl and `buf curl` list, describe and call all 47 RPCs through the proxy, and have no .proto file.

`run.py`. What is called is rpc47's script; the proxy serves reflection and health itself (portunus.yaml).
"""

import argparse
import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE.parent / "rpc47")]
import harness
import script
from client import Unanswered, resolve
from contracts import Contracts, fill, plain
from google.protobuf import json_format
from run import BACKENDS, PROTOS, RPCS, start_backend, with_callback

LIMIT = 30
SERVED = {
    "grpc.health.v1.Health",
    "grpc.reflection.v1.ServerReflection",
    "grpc.reflection.v1alpha.ServerReflection",
}


class Grpcurl:
    """Its exit code is 64 and the status."""

    def __init__(self, address: str):
        self.program, self.address = harness.installed("bin/grpcurl"), address

    def run(self, *arguments: str, data: str | None = None) -> tuple[int, str]:
        return run([self.program, "-plaintext", "-max-time", str(LIMIT), *arguments], data)

    def services(self) -> set[str]:
        return set(self.run(self.address, "list")[1].split())

    def methods(self, services: set[str]) -> set[str]:
        listed = (self.run(self.address, "list", service)[1].split() for service in services)
        return {"/".join(name.rsplit(".", 1)) for names in listed for name in names}

    def call(self, path: str, data: str) -> tuple[int, str]:
        code, output = self.run("-d", "@", self.address, path, data=data)
        return max(code - 64, -1) if code else 0, output


class Buf:
    """Its exit code is the status times eight."""

    def __init__(self, address: str, version: str):
        self.program, self.url = harness.installed("node/node_modules/.bin/buf"), f"http://{address}"
        self.version = version

    def run(self, *arguments: str, data: str | None = None) -> tuple[int, str]:
        how = ["--protocol", "grpc", "--http2-prior-knowledge", "--reflect-protocol", self.version]
        return run([self.program, "curl", *how, *arguments], data)

    def services(self) -> set[str]:
        return set(self.run("--list-services", self.url)[1].split())

    def methods(self, _: set[str]) -> set[str]:
        return set(self.run("--list-methods", self.url)[1].split())

    def call(self, path: str, data: str) -> tuple[int, str]:
        code, output = self.run("-d", "@-", f"{self.url}/{path}", data=data)
        return code // 8 if code % 8 == 0 else -1, output


def run(command: list[str], data: str | None) -> tuple[int, str]:
    done = subprocess.run(command, input=data or "", capture_output=True, text=True, timeout=2 * LIMIT)
    return done.returncode, done.stdout if done.returncode == 0 else done.stdout + done.stderr


def main() -> int:
    argparse.ArgumentParser(description=__doc__).parse_args()
    tally = harness.Tally("grpcurl")
    with harness.workshop(tally) as folder:
        contracts = Contracts(PROTOS, folder)
        tally.check(f"the contracts hold {RPCS} RPCs", len(contracts.rpcs) == RPCS, str(len(contracts.rpcs)))
        for client in ("grpcurl", "buf-v1", "buf-v1alpha"):
            place = folder / client
            place.mkdir()
            with contextlib.ExitStack() as stack:
                names = [name for name in BACKENDS if name != "core"]
                backends = {name: start_backend(stack, place, name) for name in names}
                ports = {f"{name.upper()}_PORT": address.rsplit(":", 1)[1] for name, address in backends.items()}
                edge = {"EDGE_PORT": harness.free_port()}
                proxy = stack.enter_context(harness.Proxy(place, HERE / "portunus.yaml", edge, **ports))
                address = f"127.0.0.1:{proxy.ports['EDGE_PORT']}"
                peer = Grpcurl(address) if client == "grpcurl" else Buf(address, f"grpc-{client[4:]}")
                check(tally, client, peer, contracts, backends["bindu"])
    return tally.close()


def check(tally, client: str, peer: Grpcurl | Buf, contracts: Contracts, callback: str):
    rpcs = contracts.rpcs
    services = {rpc.service for rpc in rpcs.values()}
    # The proxy asks the instances for their schemas when it starts.
    with contextlib.suppress(TimeoutError):
        harness.wait_for("the schemas", lambda: len(peer.services()) == len(services | SERVED))
    listed = peer.services()
    tally.check(f"{client}: lists every service", listed == services | SERVED, str(sorted(listed ^ (services | SERVED))))
    methods = peer.methods(services)
    methods = {name for name in methods if not name.startswith("grpc.")}
    tally.check(f"{client}: lists every method", methods == set(rpcs), str(sorted(methods ^ set(rpcs))))
    if isinstance(peer, Grpcurl):
        describe(tally, peer, rpcs)
    answers: dict[str, list] = {}
    succeeded = set()
    for call in script.SCRIPTED:
        rpc = rpcs[call["rpc"]]
        try:
            value = with_callback(resolve(call["request"], answers), callback)
        except Unanswered as missing:
            tally.check(f"{client}: {call['id']}", False, f"nothing at {missing}")
            continue
        code, output = peer.call(rpc.path, json_format.MessageToJson(fill(rpc.request(), value)))
        messages = []
        with contextlib.suppress(ValueError, json_format.ParseError):
            messages = [plain(json_format.ParseDict(one, rpc.response())) for one in documents(output)]
        answers[call["id"]] = messages
        tally.check(f"{client}: {call['id']}", code == call["code"], f"status {code}, not {call['code']}: {output[:500]}")
        if code == 0 and messages:
            succeeded.add(rpc.path)
    missing = set(rpcs) - succeeded
    tally.check(f"{client}: every RPC answers at least once", not missing, f"never: {sorted(missing)}")
    for service in sorted({"", *services, *SERVED}):
        code, output = peer.call("grpc.health.v1.Health/Check", json.dumps({"service": service}))
        tally.check(f"{client}: health of {service or 'the listener'}", code == 0 and '"SERVING"' in output, output)


def describe(tally, peer: Grpcurl, rpcs: dict):
    """Each service with its methods, and each message; buf has no command for it."""
    for service in sorted({rpc.service for rpc in rpcs.values()}):
        code, output = peer.run(peer.address, "describe", service)
        names = [rpc.path.split("/")[1] for rpc in rpcs.values() if rpc.service == service]
        lacking = [name for name in names if f"rpc {name} (" not in output]
        tally.check(f"grpcurl: describes {service}", code == 0 and not lacking, f"{lacking}\n{output[:1000]}")
    messages = {kind.DESCRIPTOR for rpc in rpcs.values() for kind in (rpc.request, rpc.response)}
    for message in sorted(messages, key=lambda one: one.full_name):
        code, output = peer.run(peer.address, "describe", message.full_name)
        lacking = [field.name for field in message.fields if f" {field.name} = {field.number};" not in output]
        tally.check(f"grpcurl: describes {message.full_name}", code == 0 and not lacking, f"{lacking}\n{output[:1000]}")


def documents(text: str) -> Iterator[dict]:
    """The JSON documents of a text, one behind the other."""
    decoder, text = json.JSONDecoder(), text.strip()
    while text:
        value, end = decoder.raw_decode(text)
        yield value
        text = text[end:].strip()


if __name__ == "__main__":
    sys.exit(main())
