"""Tokens of PyJWT and of jose (npm), by every algorithm: the good ones pass, those that have expired or are of another key do not.

`run.py`. Keys are made by the libraries too, and go to the proxy as their JWK sets and as secrets.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))
import echo
import grpc
import harness

ALGORITHMS = {f"{family}{bits}" for family in ("RS", "PS", "ES", "HS") for bits in (256, 384, 512)} | {"EdDSA"}
UNAUTHENTICATED = grpc.StatusCode.UNAUTHENTICATED


def main() -> int:
    argparse.ArgumentParser(description=__doc__).parse_args()
    tally = harness.Tally("jwt")
    with harness.workshop(tally) as folder, harness.echo_backend(folder) as server_port:
        made = {"pyjwt": pyjwt(), "jose": jose()}
        for name, own in made.items():
            (folder / f"{name}.json").write_text(json.dumps(own["keys"]))
            (folder / f"{name}.secret").write_text(own["secret"] + "\n")
        ports = {"PROXY_PORT": harness.free_port()}
        config = HERE / "portunus.yaml"
        with harness.Proxy(folder, config, ports, SERVER_PORT=str(server_port), FOLDER=str(folder)) as proxy:
            with grpc.insecure_channel(f"127.0.0.1:{proxy.port}") as channel:
                for name, own in made.items():
                    judge(tally, channel, name, own["tokens"])
    return tally.close()


def judge(tally: harness.Tally, channel: grpc.Channel, name: str, tokens: dict) -> None:
    tally.check(f"{name} signs by every algorithm", ALGORITHMS <= set(tokens), str(sorted(tokens)))
    for algorithm, each in tokens.items():
        for kind, token in each.items():
            code, told = call(channel, token)
            if kind == "good":
                tally.check(f"{name} {algorithm}", code == grpc.StatusCode.OK and told == "ann", f"{code} {told}")
            else:
                tally.check(f"{name} {algorithm} {kind}", code == UNAUTHENTICATED, f"{code} {told}")


def call(channel: grpc.Channel, token: str) -> tuple[grpc.StatusCode, str]:
    """The status, and whom the instance was told."""
    unary = channel.unary_unary(echo.UNARY)
    try:
        _, done = unary.with_call(echo.chunk(b"ping"), metadata=[("authorization", f"Bearer {token}")], timeout=harness.PATIENCE)
    except grpc.RpcError as error:
        return error.code(), error.details()
    return done.code(), dict(done.initial_metadata()).get("x-echo-user", "")


def pyjwt() -> dict:
    return output(harness.installed("pyjwt/bin/python"), HERE / "tokens.py", "pyjwt")


def jose() -> dict:
    folder = harness.installed("jose")
    return output(harness.packaged("node", "Node.js"), HERE / "tokens.mjs", "jose", folder)


def output(*command) -> dict:
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, timeout=120).stdout)


if __name__ == "__main__":
    sys.exit(main())
