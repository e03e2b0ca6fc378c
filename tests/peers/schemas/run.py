"""Schemas of other people by their reflection, and random messages of them through `portunus call`, against Go's protobuf.

`run.py`. main.go does it and counts; install.sh has built it.
"""

import argparse
import os
import subprocess
import sys
from pathlib import Path

LIMIT = 300


def main() -> int:
    argparse.ArgumentParser(description=__doc__).parse_args()
    program = Path(os.environ["PEERS_DIR"]) / "bin" / "schemas"
    if not program.exists():
        print(f"schemas: {program} is missing: run tests/peers/install.sh", file=sys.stderr)
        return 1
    return subprocess.run([program], timeout=LIMIT).returncode


if __name__ == "__main__":
    sys.exit(main())
