"""The real Bindu core with two instances of a sample SDK agent behind the proxy, as a user of A2A sees them.

`run.py [--through proxy|directly]`. Directly, the instances register with the core itself: that shows what the core alone
does (one instance gets everything), and proves the suite where there is no proxy.
"""

import argparse
import contextlib
import itertools
import re
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
import deaths
import harness
import refusals
from a2a import User

NAMES = ("one", "two")
IN_TURN = 10
AFTER_KILL = 20
# The core imports half a second's worth of libraries, then some more for its first agent.
CORE_PATIENCE = 60.0


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--through", choices=["proxy", "directly"], default="proxy")
    through = arguments.parse_args().through
    tally = harness.Tally("bindu")
    with harness.workshop(tally) as folder, contextlib.ExitStack() as stack:
        stage = Stage(folder, stack)
        if through == "proxy":
            stage.start_proxy()
            through_the_proxy(tally, stage)
            with contextlib.ExitStack() as parts:
                inner = folder / "deaths"
                inner.mkdir()
                stage = Stage(inner, parts)
                stage.start_proxy()
                deaths.check(tally, stage)
        else:
            directly(tally, stage)
    return tally.close()


class Stage:
    """The core, the proxy where there is one, the instances, and the user."""

    def __init__(self, folder: Path, stack: contextlib.ExitStack):
        self.folder, self.stack = folder, stack
        self.core_port, self.a2a_port = harness.free_port(), harness.free_port()
        self.ports = {"SDK_PORT": harness.free_port(), "CALLBACK_PORT": harness.free_port()}
        # The core writes keys and logs into the folder that it is started in.
        (folder / "core").mkdir()
        self.start_core("core")
        self.registrar = self.core_port
        self.user = User(f"http://127.0.0.1:{self.a2a_port}/")

    def start_core(self, log: str):
        command = [harness.installed("bindu/bin/bindu"), "serve", "--grpc", "--grpc-port", self.core_port]
        home = self.folder / "core"
        self.core = self.stack.enter_context(
            harness.Child(log, command, self.folder, cwd=home, OTEL_SDK_DISABLED="true")
        )
        self.core.wait_port(self.core_port)

    def start_proxy(self, log: str = "portunus"):
        """The proxy on the ports and with the state that it had before, if it had."""
        config = Path(__file__).with_name("portunus.yaml")
        env = {"CORE_PORT": str(self.core_port), "STATE_DIR": str(self.folder / "state")}
        self.proxy = self.stack.enter_context(harness.Proxy(self.folder, config, self.ports, log, **env))
        self.registrar = self.ports["SDK_PORT"]

    def start_instance(self, name: str, log: str | None = None, quiet: bool = False) -> harness.Child:
        """An instance on a port of its own; returns once the registrar has said yes to it."""
        command = [
            harness.binary("AGENTS", "portunus-agents"),
            "bindu",
            "--name",
            "peer",
            "--author",
            "peers@example.com",
        ]
        command += [
            "--instance",
            name,
            "--registrar",
            f"127.0.0.1:{self.registrar}",
            "--url",
            f"http://127.0.0.1:{self.a2a_port}",
        ]
        if quiet:
            command += ["--heartbeat", "10m"]
        child = self.stack.enter_context(harness.Child(log or name, command, self.folder))
        child.wait_address()
        return child

    def wait_a2a(self):
        harness.wait_for("the agent's A2A port", lambda: harness.is_open(self.a2a_port), CORE_PATIENCE)

    def ask(self, count: int) -> list[tuple[str, str]]:
        """Sends messages one after another; returns each task's state and the name of the instance that answered."""
        asked = [self.user.ask(f"message {number}") for number in range(count)]
        return [
            (state, match[1] if (match := re.search(r"\(instance (\S+)\)", text)) else text) for state, text in asked
        ]

    def registrations(self) -> int:
        return len(re.findall(r"RegisterAgent\s+received", self.core.output()))


def through_the_proxy(tally, stage):
    one, _two = (stage.start_instance(name) for name in NAMES)
    stage.wait_a2a()
    # Both are registered, but an instance gets its first call only after its first health check.
    harness.wait_for("both instances to answer", lambda: {name for _, name in stage.ask(2)} == set(NAMES))

    answered = stage.ask(IN_TURN)
    turns = [name for _, name in answered]
    tally.check(f"{IN_TURN} messages succeed", all(state == "completed" for state, _ in answered), f"{answered}")
    tally.check(
        "they reach both instances in turn",
        set(turns) == set(NAMES) and all(a != b for a, b in itertools.pairwise(turns)),
        f"{turns}",
    )
    tally.check("the core saw one registration", stage.registrations() == 1, f"it saw {stage.registrations()}")

    one.kill()
    answered = stage.ask(AFTER_KILL)
    tally.check(
        f"after kill -9 of one, {AFTER_KILL} messages succeed",
        all(a == ("completed", "two") for a in answered),
        f"{answered}",
    )

    # What the core alone never manages: an instance that comes back on another port gets messages again.
    stage.start_instance("one", "one-again")
    harness.wait_for("the restarted instance to answer", lambda: "one" in {name for _, name in stage.ask(2)})
    answered = stage.ask(IN_TURN)
    tally.check(
        "restarted on another port, it gets its turn again",
        {s for s, _ in answered} == {"completed"} and {n for _, n in answered} == set(NAMES),
        f"{answered}",
    )
    tally.check("the core still saw one registration", stage.registrations() == 1, f"it saw {stage.registrations()}")

    core, ours = (refusals.Registrar(port, stage.folder) for port in (stage.core_port, stage.registrar))
    refusals.compare(tally, core, ours)


def directly(tally, stage):
    one, _two = (stage.start_instance(name) for name in NAMES)
    stage.wait_a2a()
    answered = stage.ask(IN_TURN)
    tally.check(
        "the first instance gets every message", all(a == ("completed", "one") for a in answered), f"{answered}"
    )
    tally.check("the core saw both registrations", stage.registrations() == 2, f"it saw {stage.registrations()}")
    one.kill()
    answered = stage.ask(2)
    tally.check(
        "after its kill -9 every message fails, though the other lives",
        all(state == "failed" for state, _ in answered),
        f"{answered}",
    )


if __name__ == "__main__":
    sys.exit(main())
