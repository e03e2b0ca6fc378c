"""nghttp2's programs around the proxy: nghttp and h2load call through it, nghttpd stands behind it.

`run.py`. None of them knows gRPC: the frames are ours (echo.py), and what became of the calls is read off the proxy's metrics.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
import callers
import harness
import upstream


def main() -> int:
    argparse.ArgumentParser(description=__doc__).parse_args()
    tally = harness.Tally("nghttp2")
    with harness.workshop(tally) as folder:
        with harness.echo_backend(folder) as server_port:
            callers.check(tally, folder, server_port)
        upstream.check(tally, folder)
    return tally.close()


if __name__ == "__main__":
    sys.exit(main())
