"""CEL's own conformance cases through our expressions: every case passes, but those that exceptions.txt names with a reason.

`run.py [--files FILE...]`. export.js writes the cases down, portunus-cel evaluates them, and this judges: a case that fails
and is not named fails the suite, and so do one that is named and passes, and more exceptions than 2% of the cases.
"""

import argparse
import json
import re
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))
import harness

FILES = "basic comparisons fields integer_math fp_math lists logic macros string timestamps".split()
CASES = 843
EXCEPTIONS = HERE / "exceptions.txt"
MOST_EXCEPTIONS = 2  # percent of the cases
LIMIT = 60


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--files", nargs="+", default=FILES, help="other files of the package; all must pass then")
    files = options.parse_args().files
    core = files == FILES
    tally = harness.Tally("cel")
    with harness.workshop(tally) as folder:
        summary = evaluate(folder, files)
        judge(tally, summary["cases"], summary["failures"], read_exceptions() if core else {})
        if core:
            count = sum(summary["cases"].values())
            tally.check("all cases", count == CASES, f"{count}, and there must be {CASES}")
    return tally.close()


def read_exceptions() -> dict[str, str]:
    """The reason for each case that need not pass."""
    excepted = {}
    for number, line in enumerate(EXCEPTIONS.read_text().splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        match = re.fullmatch(r"(\w+/\w+/.*?\S) {2,}(\S.*)", line)
        if not match or match[1] in excepted:
            raise SystemExit(f"{EXCEPTIONS}:{number}: not `file/section/name  reason`, or there already: {line}")
        excepted[match[1]] = match[2]
    return excepted


def evaluate(folder: Path, files: list[str]) -> dict:
    """What portunus-cel found: how many cases each file has, and those that failed."""
    cases, types = folder / "cases.jsonl", folder / "types.binpb"
    modules = {"NODE_PATH": harness.installed("cel/node_modules")}
    run(folder, "export", ["node", HERE / "export.js", cases, types, *files], **modules)
    return json.loads(run(folder, "portunus-cel", [harness.binary("CEL", "portunus-cel"), cases, types]).splitlines()[-1])


def run(folder: Path, name: str, command: list, **env: str) -> str:
    """Its output, which is kept in the folder too."""
    child = harness.Child(name, command, folder, **env)
    try:
        code = child.process.wait(LIMIT)
    finally:
        child.stop()
    if code:
        raise RuntimeError(f"{name} ended with {code}:\n{child.output()[-3000:]}")
    return child.output()


def judge(tally: harness.Tally, cases: dict[str, int], failures: list[dict], excepted: dict[str, str]):
    for file, count in cases.items():
        failed = [failure for failure in failures if failure["case"].startswith(f"{file}/")]
        wrong = [failure for failure in failed if failure["case"] not in excepted]
        print(f"cel: {file}: {count - len(failed)} of {count} pass, {len(failed) - len(wrong)} are excepted", flush=True)
        tally.passed += count - len(failed)
        for failure in wrong:
            tally.check(failure["case"], False, f"{failure['source']!r}\n    wants {failure['wanted']}, got {failure['got']}")
    failing = {failure["case"] for failure in failures}
    for case, reason in excepted.items():
        tally.check(case, case in failing, f"passes, or is no case any more: take it out of {EXCEPTIONS.name} ({reason})")
    share = 100 * len(excepted) / sum(cases.values())
    tally.check("few exceptions", share <= MOST_EXCEPTIONS, f"{share:.1f}% of the cases, and {MOST_EXCEPTIONS}% is the most")


if __name__ == "__main__":
    sys.exit(main())
