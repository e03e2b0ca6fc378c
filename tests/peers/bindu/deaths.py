"""What happens when a part dies: an instance, all of them, the core, the proxy. Messages must flow again within seconds with no SDK
doing anything (none heartbeats here), and none is lost once they do."""

import time
import urllib.error

WITHIN = 5.0
# A core reconnects to its callback with backoff, so a restart of the proxy must be short.
WITHIN_PROXY = 2.0
# After the first that goes through.
AFTERWARDS = 12


class Deaths:
    def __init__(self, tally, stage):
        self.tally, self.stage = tally, stage

    def flows(self, after: str, since: float, within: float, names: set[str]):
        """Messages flow again `within` seconds of `since`, to exactly these instances, and none is lost from then on."""
        tried = []
        while time.monotonic() - since < within + 30:
            try:
                [(state, said)] = self.stage.ask(1)
            except (OSError, RuntimeError, urllib.error.URLError) as error:
                state, said = "no answer", str(error)
            tried.append((state, said))
            if state == "completed":
                break
            time.sleep(0.05)
        took = time.monotonic() - since
        fine = tried[-1][0] == "completed" and took <= within
        self.tally.check(f"{after}: messages flow within {within:.0f} s", fine, f"after {took:.1f} s: {tried[-3:]}")
        answered = self.stage.ask(AFTERWARDS)
        lost = [each for each in answered if each[0] != "completed"]
        self.tally.check(f"{after}: none of {AFTERWARDS} is lost", not lost, f"{lost}")
        found = {name for _, name in answered}
        self.tally.check(f"{after}: they reach {', '.join(sorted(names))}", found == names, f"{found}")


def check(tally, stage):
    deaths = Deaths(tally, stage)
    instances = {name: stage.start_instance(name, f"death-{name}", quiet=True) for name in ("a", "b", "c")}
    stage.wait_a2a()
    deaths.flows("all three are there", time.monotonic(), WITHIN, {"a", "b", "c"})

    instances["a"].kill()
    deaths.flows("one is killed", time.monotonic(), WITHIN, {"b", "c"})

    instances["a"] = stage.start_instance("a", "death-a-again", quiet=True)
    deaths.flows("it is back on another port", time.monotonic(), WITHIN, {"a", "b", "c"})

    # Says UnregisterAgent, as real SDKs do not.
    instances["b"].stop()
    deaths.flows("one has unregistered", time.monotonic(), WITHIN, {"a", "c"})

    for name in "ac":
        instances[name].kill()
    instances["c"] = stage.start_instance("c", "death-c-again", quiet=True)
    deaths.flows("all were killed and one is back", time.monotonic(), WITHIN, {"c"})

    instances["a"] = stage.start_instance("a", "death-a-third", quiet=True)
    stage.core.kill()
    stage.start_core("core-again")
    deaths.flows("the core was killed and is back", time.monotonic(), WITHIN, {"a", "c"})

    stage.proxy.kill()
    since = time.monotonic()
    stage.start_proxy("portunus-again")
    deaths.flows("the proxy was killed and is back", since, WITHIN_PROXY, {"a", "c"})

    # What the core does not know of: it was not there when the proxy began, nor when an instance came.
    stage.core.kill()
    stage.proxy.kill()
    stage.start_proxy("portunus-third")
    stage.start_core("core-third")
    deaths.flows("the proxy was there before the core", time.monotonic(), WITHIN, {"a", "c"})
