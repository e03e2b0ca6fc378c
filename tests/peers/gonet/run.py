"""Go's net/http as caller and as server, with the proxy between them: runs the tests in this folder (`go test`), and counts them.

`run.py`. They need nothing but Go's standard library, and are compiled each time, so that no stale build is tested.
"""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
import harness

LIMIT = 180


def main() -> int:
    argparse.ArgumentParser(description=__doc__).parse_args()
    tally = harness.Tally("gonet")
    # The tests serve as the upstream themselves, once the proxy is there.
    server_port = harness.free_port()
    with harness.workshop(tally) as folder, harness.in_front(folder, server_port) as proxy:
        count(tally, go_test(folder, server_port, proxy.port))
    return tally.close()


def go_test(folder, server_port, port) -> list[dict]:
    """What `go test` tells of each test, and of the package as a whole."""
    command = [harness.packaged("go", "golang"), "test", "-count=1", f"-timeout={LIMIT}s", "-json", "."]
    env = {"UPSTREAM": f"127.0.0.1:{server_port}", "PROXY": f"127.0.0.1:{port}", "GOTOOLCHAIN": "local"}
    with open(folder / "go-test.log", "w") as log:
        done = subprocess.run(
            command, cwd=Path(__file__).parent, env=os.environ | env, stdout=subprocess.PIPE, stderr=log, text=True
        )
        log.write(done.stdout)
    events = [json.loads(line) for line in done.stdout.splitlines()]
    if not events:
        raise RuntimeError(f"go test said nothing: see {log.name}")
    return events


def count(tally, events):
    output: dict[str, str] = {}
    for event in events:
        test = event.get("Test", "all of them")
        if event["Action"] in ("output", "build-output"):
            output[test] = output.get(test, "") + event["Output"]
        elif event["Action"] in ("pass", "fail", "skip"):
            tally.check(test, event["Action"] == "pass", output.get(test, "").strip())


if __name__ == "__main__":
    sys.exit(main())
