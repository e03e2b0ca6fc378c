"""h2spec, in strict mode, against a listener with a gRPC backend behind it: every case passes but those that are listed.

`run.py`. h2spec asks with plain GETs and POSTs, so what answers it is the proxy's own refusal, never the backend. A case that
h2spec skips (for want of a body in the answer) has shown nothing, and counts as failed.
"""

import argparse
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
import harness

CASES = 146
EXPECTED = Path(__file__).with_name("expected_failures.txt")
# Each case that gets no answer costs h2spec two seconds.
LIMIT = 300


def main() -> int:
    argparse.ArgumentParser(description=__doc__).parse_args()
    tally = harness.Tally("h2spec")
    with (
        harness.workshop(tally) as folder,
        harness.echo_backend(folder) as server_port,
        harness.in_front(folder, server_port) as proxy,
    ):
        judge(tally, run_h2spec(folder, proxy.port), expected_failures())
    return tally.close()


def run_h2spec(folder, port) -> dict[str, str]:
    """What went wrong in each case, by section and name; an empty string where nothing did."""
    report = folder / "report.xml"
    command = [harness.installed("bin/h2spec"), "--strict", "--port", str(port), "--junit-report", report]
    with open(folder / "h2spec.log", "wb") as log:
        subprocess.run(command, stdout=log, stderr=subprocess.STDOUT, timeout=LIMIT)
    cases = ElementTree.parse(report).iter("testcase")
    return {f"{case.get('package')}: {case.get('classname')}": why(case) for case in cases}


def why(case) -> str:
    """The last line of h2spec's reason is what it saw, and the lines before are what it would have taken."""
    if case.find("skipped") is not None:
        return "skipped: the answer has no body to test with"
    lines = [line for child in case for line in (child.text or "no reason given").splitlines()]
    return f"wanted {' or '.join(lines[:-1])}; got {lines[-1]}" if lines else ""


def expected_failures() -> dict[str, str]:
    """The reasons of the listed cases, by section and name."""
    lines = [line for line in EXPECTED.read_text().splitlines() if line and not line.startswith("#")]
    return dict(line.split(" | ", 1) for line in lines)


def judge(tally, failures, expected):
    tally.check(f"h2spec has {CASES} cases", len(failures) == CASES, f"it ran {len(failures)}")
    tally.check("every listed case exists", expected.keys() <= failures.keys(), f"{expected.keys() - failures.keys()}")
    for case, failure in failures.items():
        if case in expected:
            tally.check(case, bool(failure), f"passes now: take it out of {EXPECTED.name}")
        else:
            tally.check(case, not failure, failure)


if __name__ == "__main__":
    sys.exit(main())
