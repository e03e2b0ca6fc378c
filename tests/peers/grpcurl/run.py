"""grpcurl, `buf curl` and grpcui list, describe and call all 47 RPCs through the proxy, and have no .proto file.

`run.py [CLIENT]` (default: all). What is called is rpc47's script; the proxy serves reflection and health itself (portunus.yaml).
"""

import argparse
import contextlib
import json
import re
import subprocess
import sys
import urllib.request
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

CLIENTS = ["grpcurl", "buf-v1", "buf-v1alpha", "grpcui"]
LIMIT = 30
SERVED = {
    "grpc.health.v1.Health",
    "grpc.reflection.v1.ServerReflection",
    "grpc.reflection.v1alpha.ServerReflection",
}


class Grpcurl:
    """Its exit code is 64 and the status."""

    served = SERVED

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

    served = SERVED

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


class Grpcui:
    """A web page, spoken to as its script does. It shows no reflection."""

    served = {name for name in SERVED if ".reflection." not in name}

    def __init__(self, address: str, folder: Path, stack: contextlib.ExitStack):
        self.program, self.address, self.folder = harness.installed("bin/grpcui"), address, folder
        self.child = stack.enter_context(contextlib.ExitStack())
        self.page = ""

    def services(self) -> set[str]:
        """It asks once, when it starts: whoever asks again starts it anew."""
        self.child.close()
        self.port = harness.free_port()
        command = [self.program, "-plaintext", "-open-browser=false", "-port", self.port, self.address]
        child = self.child.enter_context(harness.Child("grpcui", command, self.folder))
        child.wait_port(self.port)
        with self.open("") as answer:
            self.page = answer.read().decode()
            self.token = answer.headers["set-cookie"].split("=", 1)[1].split(";")[0]
        return set(re.findall(r'<option value="([^"]+)">', self.page))

    def methods(self, services: set[str]) -> set[str]:
        table = re.search(r"var services = (\{.*?\});", self.page, re.DOTALL)[1]
        listed = json.loads(re.sub(r",(\s*[\]}])", r"\1", table))
        names = {f"{service}/{method}" for service in services for method in listed[service]}
        for name in names:
            with self.open(f"metadata?method={name.replace('/', '.')}") as answer:
                assert json.load(answer)["requestType"], name
        return names

    def call(self, path: str, data: str) -> tuple[int, str]:
        asked = json.dumps({"timeout_seconds": LIMIT, "metadata": [], "data": list(documents(data))})
        headers = {
            "content-type": "application/json",
            "cookie": f"_grpcui_csrf_token={self.token}",
            "x-grpcui-csrf-token": self.token,
        }
        with self.open(f"invoke/{path.replace('/', '.')}", asked.encode(), headers) as answer:
            done = json.load(answer)
        if done["error"]:
            return done["error"]["code"], json.dumps(done)
        return 0, "\n".join(json.dumps(one["message"]) for one in done["responses"])

    def open(self, path: str, data: bytes | None = None, headers: dict[str, str] | None = None):
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}/{path}", data, headers or {})
        return urllib.request.urlopen(request, timeout=2 * LIMIT)


def run(command: list[str], data: str | None) -> tuple[int, str]:
    done = subprocess.run(command, input=data or "", capture_output=True, text=True, timeout=2 * LIMIT)
    return done.returncode, done.stdout if done.returncode == 0 else done.stdout + done.stderr


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("client", nargs="?", choices=CLIENTS)
    only = parser.parse_args().client
    tally = harness.Tally("grpcurl")
    with harness.workshop(tally) as folder:
        contracts = Contracts(PROTOS, folder)
        tally.check(f"the contracts hold {RPCS} RPCs", len(contracts.rpcs) == RPCS, str(len(contracts.rpcs)))
        for client in [only] if only else CLIENTS:
            place = folder / client
            place.mkdir()
            with contextlib.ExitStack() as stack:
                names = [name for name in BACKENDS if name != "core"]
                backends = {name: start_backend(stack, place, name) for name in names}
                ports = {f"{name.upper()}_PORT": address.rsplit(":", 1)[1] for name, address in backends.items()}
                edge = {"EDGE_PORT": harness.free_port()}
                proxy = stack.enter_context(harness.Proxy(place, HERE / "portunus.yaml", edge, **ports))
                address = f"127.0.0.1:{proxy.ports['EDGE_PORT']}"
                match client:
                    case "grpcurl":
                        peer = Grpcurl(address)
                    case "grpcui":
                        peer = Grpcui(address, place, stack)
                    case _:
                        peer = Buf(address, f"grpc-{client[4:]}")
                check(tally, client, peer, contracts, backends["bindu"])
    return tally.close()


def check(tally, client: str, peer: Grpcurl | Buf | Grpcui, contracts: Contracts, callback: str):
    rpcs = contracts.rpcs
    services = {rpc.service for rpc in rpcs.values()}
    # The proxy asks the instances for their schemas when it starts.
    with contextlib.suppress(TimeoutError):
        harness.wait_for("the schemas", lambda: len(peer.services()) == len(services | peer.served))
    listed, wanted = peer.services(), services | peer.served
    tally.check(f"{client}: lists every service", listed == wanted, str(sorted(listed ^ wanted)))
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
