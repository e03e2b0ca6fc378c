"""Registrations that the core refuses: what it says itself, and what the registrar before it says."""

import json
import sys
from pathlib import Path

import grpc

PEERS = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(PEERS), str(PEERS / "rpc47")]
import harness
from contracts import Contracts

_SERVICE = "bindu.grpc.BinduService"
# The core starts no server for a registration that it refuses, but it may be busy with its first agent.
TIMEOUT = 30
_WHOLE = {"author": "a", "name": "n", "deployment": {"url": "http://127.0.0.1:3773", "expose": True}}


def _with(**changes) -> str:
    return json.dumps({k: v for k, v in (_WHOLE | changes).items() if v is not None})


CONFIGS = {
    "nothing": "",
    "blanks": " \n ",
    "no JSON": "{author: me}",
    "a comma too many": '{"author": "a",}',
    "an open list": "[1",
    "an open text": '{"é": "a',
    "a control character": '{"a": "\t"}',
    "a bad escape": '{"a": "\\q"}',
    "a bad code point": '{"a": "\\u12"}',
    "more than JSON": "{} x",
    "a number with a zero before it": "01",
    "a list": "[]",
    "a number": "7",
    "a fraction": "1.5",
    "null": "null",
    "true": "true",
    "a text": '"x"',
    "no author": _with(author=None),
    "a blank author": _with(author=" "),
    "an author that is no text": _with(author=7),
    "no name": _with(name=None),
    "a name that is no text": _with(name=[]),
    "no deployment": _with(deployment=None),
    "a deployment that is none": _with(deployment="http://127.0.0.1:3773"),
    "no URL": _with(deployment={"expose": True}),
    "a URL that is no text": _with(deployment={"url": 7, "expose": True}),
    "a URL without a scheme": _with(deployment={"url": "localhost:3773", "expose": True}),
    "a URL without a host": _with(deployment={"url": "http://", "expose": True}),
    "no expose": _with(deployment={"url": "http://127.0.0.1:3773"}),
    "an unknown kind": _with(kind="x"),
}


class Registrar:
    """BinduService at one address: the core's own, or ours."""

    def __init__(self, port: int, folder: Path):
        self.rpcs = Contracts(PEERS.parents[1] / "proto" / "protos", folder).rpcs
        self.nobody = harness.free_port()
        self.channel = grpc.insecure_channel(f"127.0.0.1:{port}")

    def register(self, config: str) -> tuple:
        # Nobody is called there: every registration is refused.
        said = self._call("RegisterAgent", config_json=config, grpc_callback_address=f"127.0.0.1:{self.nobody}")
        return said.success, said.error

    def unregister(self, agent_id: str) -> tuple:
        said = self._call("UnregisterAgent", agent_id=agent_id)
        return said.success, said.error

    def _call(self, method: str, **fields):
        rpc = self.rpcs[f"{_SERVICE}/{method}"]
        call = self.channel.unary_unary(f"/{rpc.path}", rpc.request.SerializeToString, rpc.response.FromString)
        return call(rpc.request(**fields), timeout=TIMEOUT)


def compare(tally, core: Registrar, ours: Registrar):
    for what, config in CONFIGS.items():
        directly, through = core.register(config), ours.register(config)
        tally.check(
            f"{what} is refused as the core refuses it",
            not directly[0] and directly == through,
            f"directly {directly}\n    through  {through}",
        )
    for agent in ("", "nobody"):
        directly, through = core.unregister(agent), ours.unregister(agent)
        tally.check(f"leaving as {agent!r}, too", directly == through, f"directly {directly}, through {through}")
