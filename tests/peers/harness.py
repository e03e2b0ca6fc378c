"""What the suites share: child processes with logs, free ports, the proxy (or a relay in its place), and the tally.

Used by every suite. Knows nothing of any RPC. Processes are ended by the pid that was started, never by name.
"""

import contextlib
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

PEERS_DIR = Path(os.environ.get("PEERS_DIR", Path.home() / ".cache/portunus-peers"))
HERE = Path(__file__).resolve().parent
# One address in, one backend out, and no limit that is not the default.
ONE_BACKEND = HERE / "one_backend.yaml"
# A first start under a debug build on a busy two-core machine takes seconds; a hang must still end the suite.
PATIENCE = 30.0


class Missing(SystemExit):
    """Something that the suites need is not there: says what to do, and fails the run."""

    def __init__(self, what: str, remedy: str):
        super().__init__(f"peers: {what} is missing: {remedy}")


def binary(variable: str, package: str) -> str:
    """The path in $PORTUNUS, $AGENTS or $CEL; never a guess, so that no stale build is tested by accident."""
    path = os.environ.get(variable, "")
    if not path or not shutil.which(path):
        raise Missing(
            f"${variable} ({path or 'not set'})",
            f"build it (cargo build -p {package}) and set {variable}=/path/to/{package}",
        )
    return path


def installed(path: str) -> str:
    full = PEERS_DIR / path
    if not full.exists():
        raise Missing(str(full), "run tests/peers/install.sh")
    return str(full)


def packaged(tool: str, package: str) -> str:
    """A program from the system's packages, which may be in a folder for servers that not everybody has in $PATH."""
    path = shutil.which(tool, path=f"{os.environ['PATH']}:/usr/sbin:/usr/local/sbin")
    if not path:
        raise Missing(tool, f"install it (apt-get install {package})")
    return path


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def wait_for(what: str, probe, patience: float = PATIENCE, every: float = 0.02):
    """Polls `probe` until it returns something true, and returns that."""
    end = time.monotonic() + patience
    while True:
        if value := probe():
            return value
        if time.monotonic() > end:
            raise TimeoutError(f"{what}: not within {patience:.0f} s")
        time.sleep(every)


def is_open(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False


class Child:
    """A process with its output in a file. As a context manager it is ended on the way out, with SIGKILL if it does not listen."""

    def __init__(self, name: str, command: list, folder: Path, cwd: Path | None = None, **env: str):
        self.name = name
        self.log = folder / f"{name}.log"
        with open(self.log, "wb") as out:
            self.process = subprocess.Popen(
                [str(c) for c in command], stdout=out, stderr=subprocess.STDOUT, cwd=cwd, env=os.environ | env
            )

    def wait_port(self, port: int) -> "Child":
        self._wait(f"{self.name} on port {port}", lambda: is_open(port))
        return self

    def wait_address(self) -> str:
        """The address after `listening on`, which the sample backends print once they serve."""
        match = self._wait(
            f"{self.name} to print its address", lambda: re.search(r"listening on (?:http://)?(\S+:\d+)", self.output())
        )
        return match[1]

    def output(self) -> str:
        return self.log.read_text(errors="replace")

    def kill(self):
        """kill -9, for tests of what happens then."""
        self.process.kill()
        self.process.wait()

    def stop(self):
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(5)
            except subprocess.TimeoutExpired:
                self.kill()

    def _wait(self, what: str, probe):
        def alive():
            if self.process.poll() is not None:
                raise RuntimeError(f"{self.name} exited with {self.process.returncode}:\n{self.output()[-3000:]}")
            return probe()

        try:
            return wait_for(what, alive)
        except TimeoutError as e:
            raise TimeoutError(f"{e}\n{self.output()[-3000:]}") from None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()


class Proxy(Child):
    """Portunus with `config`, whose ${NAME}s come from `ports` and `env`; there once every port in `ports` is open."""

    def __init__(self, folder: Path, config: Path, ports: dict[str, int], log: str = "portunus", **env: str):
        # Two suites at once, or a proxy that somebody tries out beside them, would meet on the admin server's default port.
        self.ports = ports | {"ADMIN_PORT": free_port()}
        values = {name: str(port) for name, port in self.ports.items()} | env
        super().__init__(log, [binary("PORTUNUS", "portunus"), "run", "-c", config], folder, **values)
        try:
            for port in self.ports.values():
                self.wait_port(port)
        except BaseException:
            self.stop()
            raise

    @property
    def port(self) -> int:
        """Of the one listener, where `in_front` made the proxy."""
        return self.ports["PROXY_PORT"]

    def handled(self, calls: int) -> dict[str, int]:
        """How many calls the proxy has ended, by gRPC status. A call is counted once its answer is out, so this waits until
        `calls` are."""
        with contextlib.suppress(TimeoutError):
            wait_for("the last call to be counted", lambda: sum(self._handled().values()) >= calls)
        return self._handled()

    def _handled(self) -> dict[str, int]:
        url = f"http://127.0.0.1:{self.ports['ADMIN_PORT']}/metrics"
        with urllib.request.urlopen(url, timeout=PATIENCE) as response:
            text = response.read().decode()
        line = r'^grpc_server_handled_total\{.*grpc_code="(\w+)".*\} (\d+)$'
        counts: dict[str, int] = {}
        for code, value in re.findall(line, text, re.MULTILINE):
            counts[code] = counts.get(code, 0) + int(value)
        return counts


def in_front(folder: Path, server_port: int, config: Path = ONE_BACKEND) -> Proxy:
    """The proxy with one listener, and one backend on `server_port` behind it."""
    return Proxy(folder, config, {"PROXY_PORT": free_port()}, SERVER_PORT=str(server_port))


@contextlib.contextmanager
def echo_backend(folder: Path):
    """Our sample Echo; yields its port."""
    with Child("echo", [binary("AGENTS", "portunus-agents"), "echo"], folder) as echo:
        yield int(echo.wait_address().rsplit(":", 1)[1])


def relay(folder: Path, target: str, port: int) -> Child:
    """A bare TCP relay from `port` to `target`, where a proxy would stand."""
    child = Child(f"relay-{port}", [sys.executable, HERE / "relay.py", port, target], folder)
    try:
        return child.wait_port(port)
    except BaseException:
        child.stop()
        raise


class Tally:
    """Counts what passed and what failed, and prints the line by which a run is judged."""

    def __init__(self, suite: str):
        self.suite, self.passed, self.failed = suite, 0, 0

    def check(self, name: str, ok: bool, why: str = "") -> bool:
        if ok:
            self.passed += 1
        else:
            self.failed += 1
            print(f"{self.suite}: FAILED {name}\n    {why}".rstrip(), flush=True)
        return ok

    def close(self) -> int:
        """The suite's exit code. A suite that checked nothing has failed."""
        print(f"{self.suite}: {self.passed} passed, {self.failed} failed", flush=True)
        return 1 if self.failed or not self.passed else 0


@contextlib.contextmanager
def workshop(tally: Tally):
    """A folder for logs and state: removed after a good run, kept and named after a bad one."""
    folder = Path(tempfile.mkdtemp(prefix=f"peers-{tally.suite}-"))
    good = False
    try:
        yield folder
        good = not tally.failed
    finally:
        if good:
            shutil.rmtree(folder)
        else:
            print(f"{tally.suite}: logs are in {folder}", file=sys.stderr)
