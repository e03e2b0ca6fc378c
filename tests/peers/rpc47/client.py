"""The Python client: makes the calls of a list with grpcio and writes down everything that a caller can see.

`client.py CALLS.json RECORDS.json`; run.py starts it. client.js is its twin.
"""

import json
import sys
from pathlib import Path

import grpc
from contracts import Contracts, fill, plain

OPTIONS = [("grpc.max_receive_message_length", -1), ("grpc.max_metadata_size", 1 << 20), ("grpc.enable_retries", 0)]


def main(calls_file: str, records_file: str):
    plan = json.loads(Path(calls_file).read_text())
    rpcs = Contracts(Path(plan["protos"]), Path(records_file).parent).rpcs
    channels = {name: grpc.insecure_channel(address, OPTIONS) for name, address in plan["targets"].items()}
    answers, records = {}, []
    for call in plan["calls"]:
        rpc = rpcs[call["rpc"]]
        try:
            request = fill(rpc.request(), resolve(call["request"], answers))
            metadata = [(k, bytes.fromhex(v) if k.endswith("-bin") else v) for k, v in call["metadata"]]
            record = make(channels[call["target"]], rpc, request, metadata, plan["timeout"])
        except Unanswered as missing:
            record = not_made(missing)
        answers[call["id"]] = record["messages"]
        records.append(record | {"id": call["id"]})
    for channel in channels.values():
        channel.close()
    Path(records_file).write_text(json.dumps(records))


class Unanswered(Exception):
    """A call whose answer is needed gave none."""


def not_made(missing: Unanswered) -> dict:
    return {
        "messages": [],
        "sizes": [],
        "code": -1,
        "message": f"not called: nothing at {missing}",
        "initial": [],
        "trailing": [],
    }


def make(channel, rpc, request, metadata, timeout) -> dict:
    messages, sizes = [], []

    def parse(data: bytes):
        sizes.append(len(data))
        return rpc.response.FromString(data)

    kind = channel.unary_stream if rpc.server_streaming else channel.unary_unary
    start = kind(f"/{rpc.path}", rpc.request.SerializeToString, parse)
    if rpc.server_streaming:
        call = start(request, timeout=timeout, metadata=metadata)
        incoming = call
    else:
        call = start.future(request, timeout=timeout, metadata=metadata)
        incoming = (call.result() for _ in range(1))
    try:
        for message in incoming:
            messages.append(plain(message))
    except grpc.RpcError:
        # The call carries its own status, read below.
        pass
    return {
        "messages": messages,
        "sizes": sizes,
        "code": call.code().value[0],
        "message": call.details(),
        "initial": pairs(call.initial_metadata()),
        "trailing": pairs(call.trailing_metadata()),
    }


def pairs(metadata) -> list:
    return [[k, v.hex() if isinstance(v, bytes) else v] for k, v in metadata or ()]


def resolve(value, answers: dict):
    """Replaces each {"$from": "call/path/to/0/field"} by what that call answered; its last message where there are several."""
    if isinstance(value, list):
        return [resolve(v, answers) for v in value]
    if not isinstance(value, dict):
        return value
    if "$from" in value:
        call, *path = value["$from"].split("/")
        try:
            found = answers[call][-1]
            for step in path:
                found = found[int(step)] if isinstance(found, list) else found[step]
        except LookupError:
            raise Unanswered(value["$from"]) from None
        return found
    return {k: resolve(v, answers) for k, v in value.items()}


if __name__ == "__main__":
    main(*sys.argv[1:])
