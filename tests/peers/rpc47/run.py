"""Calls all 47 RPCs of the four systems with two clients, directly and through the proxy, and compares all that a caller sees.

`run.py [--through proxy|relay] [--protos DIR]`. Each client and each path gets fresh backends with the same seed, so every
answer, stream order, status and trailer must be equal.
"""

import argparse
import contextlib
import json
import sys
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
import harness
import script
from contracts import Contracts

HERE = Path(__file__).resolve().parent
PROTOS = HERE.parents[2] / "proto" / "protos"
RPCS = 47
BACKENDS = ["bindu", "core", "openastra", "seal", "shannon"]
CLOCK = "2026-01-01T00:00:00Z"
CLIENT_LIMIT = 300
# hyper's servers stamp each answer with the time of day.
PASSING = {"date"}
# BinduService's stand-in core and the registrar each read their own clock.
TIMES = {"bindu.grpc.BinduService/Heartbeat": "server_timestamp"}


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--through", choices=["proxy", "relay"], default="proxy")
    arguments.add_argument("--protos", type=Path, default=PROTOS)
    given = arguments.parse_args()
    tally = harness.Tally("rpc47")
    with harness.workshop(tally) as folder:
        contracts = Contracts(given.protos, folder)
        tally.check(
            f"the contracts hold {RPCS} RPCs",
            len(contracts.rpcs) == RPCS,
            f"they hold {len(contracts.rpcs)}: {sorted(contracts.rpcs)}",
        )
        calls = script.calls(contracts.rpcs)
        for client in ("python", "node"):
            direct = records(folder, contracts, calls, client, None)
            through = records(folder, contracts, calls, client, given.through)
            check_script(tally, client, contracts, calls, direct)
            compare(tally, client, calls, direct, through)
    return tally.close()


def records(folder, contracts, calls, client, through):
    """What one client sees of all calls, directly (`through` is None) or not, with backends of its own."""
    place = folder / f"{client}-{through or 'directly'}"
    place.mkdir()
    with contextlib.ExitStack() as stack:
        backends = {name: start_backend(stack, place, name) for name in BACKENDS}
        targets = backends if not through else start_middle(stack, place, backends, through)
        return run_client(place, contracts, calls, client, targets, backends["bindu"])


def start_backend(stack, place, name) -> str:
    command = [harness.binary("AGENTS", "portunus-agents"), name, "--seed", script.SEED, "--clock", CLOCK]
    return stack.enter_context(harness.Child(name, command, place)).wait_address()


def start_middle(stack, place, backends, through) -> dict:
    """Starts the proxy, or a relay for each backend, and says where each system is called then."""
    if through == "relay":
        ports = {name: harness.free_port() for name in BACKENDS}
        for name, port in ports.items():
            stack.enter_context(harness.relay(place, backends[name], port))
        return {name: f"127.0.0.1:{port}" for name, port in ports.items()}
    ports = {name: harness.free_port() for name in ("EDGE_PORT", "SDK_PORT", "CALLBACK_PORT")}
    upstream = {f"{name.upper()}_PORT": address.rsplit(":", 1)[1] for name, address in backends.items()}
    stack.enter_context(harness.Proxy(place, HERE / "portunus.yaml", ports, **upstream))
    return {name: f"127.0.0.1:{ports['SDK_PORT' if name == 'core' else 'EDGE_PORT']}" for name in BACKENDS}


def run_client(place, contracts, calls, client, targets, callback) -> list[dict]:
    plan = {
        "protos": str(contracts.protos),
        "files": contracts.files,
        "targets": targets,
        "timeout": 10,
        "calls": [c | {"target": target(c["rpc"]), "request": with_callback(c["request"], callback)} for c in calls],
    }
    (place / "calls.json").write_text(json.dumps(plan))
    if client == "python":
        command, env = [sys.executable, HERE / "client.py"], {}
    else:
        command, env = ["node", HERE / "client.js"], {"NODE_PATH": harness.installed("node/node_modules")}
    with harness.Child("client", [*command, place / "calls.json", place / "records.json"], place, **env) as child:
        harness.wait_for(
            f"the {client} client to end ({place})", lambda: child.process.poll() is not None, CLIENT_LIMIT
        )
        if child.process.returncode:
            raise RuntimeError(f"the {client} client failed ({place.name}):\n{child.output()[-3000:]}")
    return json.loads((place / "records.json").read_text())


def target(rpc: str) -> str:
    """Which backend serves an RPC."""
    if rpc.startswith("bindu."):
        return "core" if "BinduService" in rpc else "bindu"
    return "seal" if rpc.startswith("aegis.") else rpc.split(".")[0]


def with_callback(value, address: str):
    if isinstance(value, dict):
        return address if "$callback" in value else {k: with_callback(v, address) for k, v in value.items()}
    return [with_callback(v, address) for v in value] if isinstance(value, list) else value


def check_script(tally, client, contracts, calls, direct):
    """The call list must still mean what it says: its calls end as written, and every RPC succeeds at least once."""
    succeeded = set()
    for call, record in zip(calls, direct, strict=True):
        if "code" in call:
            tally.check(
                f"{client}: {call['id']} directly",
                record["code"] == call["code"],
                f"status {record['code']} ({record['message']}), the script says {call['code']}",
            )
        if record["code"] == 0 and record["messages"]:
            succeeded.add(call["rpc"])
    tally.check(
        f"{client}: every RPC answers at least once",
        not (missing := contracts.rpcs.keys() - succeeded),
        f"never: {sorted(missing)}",
    )
    slow = [r["id"] for c, r in zip(calls, direct, strict=True) if r["code"] == 4 and c.get("code") != 4]
    tally.check(f"{client}: no call needs its deadline to end", not slow, f"DEADLINE_EXCEEDED directly: {slow}")
    codes = Counter(r["code"] for r in direct)
    print(
        f"rpc47: {client}: {len(direct)} calls, {sum(len(r['messages']) for r in direct)} messages, by status: {dict(sorted(codes.items()))}",
        flush=True,
    )


def compare(tally, client, calls, direct, through):
    for call, one, other in zip(calls, direct, through, strict=True):
        one, other = comparable(call, one), comparable(call, other)
        differing = [key for key in one if one[key] != other[key]]
        why = "\n    ".join(
            f"{key}: directly {short(one[key])}\n    {' ' * len(key)}  through  {short(other[key])}"
            for key in differing
        )
        tally.check(f"{client}: {call['id']} ({call['rpc']})", not differing, why)


def comparable(call, record) -> dict:
    """A record without what may differ; metadata keep the order of their values but not of their names."""
    record = dict(record)
    for part in ("initial", "trailing"):
        record[part] = sorted((pair for pair in record[part] if pair[0] not in PASSING), key=lambda pair: pair[0])
    if time := TIMES.get(call["rpc"]):
        record["messages"] = [{k: v for k, v in m.items() if k != time} for m in record["messages"]]
        # Two clocks may need different numbers of bytes.
        del record["sizes"]
    return record


def short(value) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 600 else f"{text[:600]}… ({len(text)} characters)"


if __name__ == "__main__":
    sys.exit(main())
