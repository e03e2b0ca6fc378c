"""A page of another origin, and one with a rebound name, in headless Chromium: neither can read or change anything on the admin port.

`run.py`. `pages.mjs` drives the browser and says what each page could do; here it is judged, by what the pages could read, by what the
admin port answered them, and by what has changed. The same page from the admin port's own origin can do it all: so the attempts are good.
"""

import argparse
import json
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))
import harness

MARKER = "marker-7f3a"
PROTOS = HERE.parents[2] / "proto/protos"
# Every page makes these, and a browser that lost some would make the suite pass without them.
LEAST_ATTEMPTS = 30
PATIENCE = 420
# What is asked for without an origin, by Chromium's names.
UNSAID = {"Document", "Fetch", "Image", "Script", "Stylesheet", "Other"}


def main() -> int:
    argparse.ArgumentParser(description=__doc__).parse_args()
    tally = harness.Tally("chromium")
    with harness.workshop(tally) as folder:
        with harness.Proxy(folder, HERE / "portunus.yaml", {"SDK_PORT": harness.free_port()}) as proxy:
            admin = proxy.ports["ADMIN_PORT"]
            agent = register(folder, proxy.ports["SDK_PORT"], admin)
            before = state(admin)
            tally.check("there is something to read and to change", MARKER in before and agent in before, before)
            said = browse(folder, admin, agent)
            for page in said["pages"]:
                judge(tally, page, agent)
            # The pages ran one after the other, and each was judged by the state behind it.
            for name, after in said["states"].items():
                tally.check(f"{name}: nothing has changed", same(before, after), f"{before}\n{after}")
            tally.check("there were pages of every kind", len(said["pages"]) == 6, str([page["name"] for page in said["pages"]]))
            people(tally, said["people"])
            own(tally, said["own"], agent, proxy)
    return tally.close()


def register(folder: Path, sdk: int, admin: int) -> str:
    """Registers an agent; its id."""
    with harness.Child("agent", [harness.binary("AGENTS", "portunus-agents"), "bindu"], folder) as server:
        port = server.wait_address().rsplit(":", 1)[1]
        request = {
            "config_json": json.dumps({"author": "a@example.com", "name": "n", "deployment": {"url": "http://localhost:1", "expose": True}}),
            "grpc_callback_address": f"127.0.0.1:{port}",
        }
        call = [harness.binary("PORTUNUS", "portunus"), "call", "--proto", PROTOS / "bindu/agent_handler.proto"]
        call += [f"127.0.0.1:{sdk}", "bindu.grpc.BinduService/RegisterAgent", "-d", json.dumps(request)]
        done = subprocess.run(call, capture_output=True, text=True, timeout=harness.PATIENCE)
        if done.returncode:
            raise RuntimeError(f"the agent could not register: {done.stderr}{done.stdout}")
    return json.loads(get(admin, "/agents"))[0]["id"]


def get(admin: int, path: str) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{admin}{path}", timeout=harness.PATIENCE) as response:
        return response.read().decode()


def state(admin: int) -> str:
    """What a page could change, as far as it can be asked for: whose the agents are, the configuration, and how much is logged."""
    agents = [[agent["id"], agent["owner"]] for agent in json.loads(get(admin, "/agents"))]
    try:
        level = get(admin, "/log-level")
    except urllib.error.HTTPError as error:
        level = str(error.code)
    config = json.loads(get(admin, "/config"))
    missing = json.loads(get(admin, "/ready"))["missing"]
    return json.dumps([agents, config, json.loads(get(admin, "/config/status")), level, missing])


def same(before: str, after: str) -> bool:
    return json.loads(before) == json.loads(after)


def browse(folder: Path, admin: int, agent: str) -> dict:
    node = harness.packaged("node", "Node.js")
    chromium = harness.packaged("chromium", "chromium")
    command = [node, HERE / "pages.mjs", harness.installed("chromium"), chromium, folder / "profile", str(admin), agent]
    with open(folder / "browser.log", "wb") as log:
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=log, timeout=PATIENCE)
    if done.returncode:
        raise RuntimeError((folder / "browser.log").read_text(errors="replace")[-3000:])
    return json.loads(done.stdout)


def judge(tally: harness.Tally, page: dict, agent: str) -> None:
    """What a page of somebody else could do."""
    name = page["name"]
    tally.check(f"{name}: makes its attempts", len(page["attempts"]) >= LEAST_ATTEMPTS, str(page["attempts"])[:2000])
    for attempt in page["attempts"]:
        # A rebound page reads the refusal, as it is of its own origin; of what it asks for it reads nothing.
        text = json.dumps(attempt)
        fine = MARKER not in text and agent not in attempt["read"] and "portunus_" not in text and "endpoints" not in text
        tally.check(f"{name}: {attempt['what']}", fine and not attempt["stuck"], text[:500])
    refused = {0, 400, 401, 403, 404, 405, 415, 421}
    for answer in page["answers"]:
        # A person may follow a link: the page that had it sees nothing of that. And where there is neither loopback nor TLS, Chromium
        # does not say for whom an image or the like is: it gets its answer, and the page does not.
        linked = answer["type"] == "Document" and answer["top"]
        unsaid = "//portunus.test:" in answer["url"] and answer["type"] in UNSAID
        fine = answer["status"] in refused or answer["method"] == "GET" and (linked or unsaid)
        tally.check(f"{name}: {answer['method']} {answer['url']} is answered {answer['status']}", fine, json.dumps(answer))
    tally.check(f"{name}: the admin port has answered", len(page["answers"]) >= 5, str(page["answers"]))


def people(tally: harness.Tally, visits: list) -> None:
    """What a person does by hand works, and the browser has nothing to say about it."""
    tally.check("a person finds pages", len(visits) >= 10, str(visits))
    for visit in visits:
        # In the clear and under a name, Chromium says of each page that it ignores one of its headers.
        heard = [] if "//portunus.test:" in visit["url"] else visit["console"]
        fine = visit["status"] == 200 and visit["text"] and not heard
        tally.check(f"a person opens {visit['url']}", fine, json.dumps(visit)[:800])
    shown = [visit for visit in visits if visit["url"].endswith("/config")]
    tally.check("and reads it", bool(shown) and all(MARKER in visit["text"] for visit in shown), str(shown)[:500])


def own(tally: harness.Tally, attempts: list, agent: str, proxy: harness.Proxy) -> None:
    """The same attempts from the admin port's own origin, as a console would make them: reading and changing work."""
    read = {attempt["what"]: attempt["read"] for attempt in attempts}
    tally.check("its own page reads", any(MARKER in text for text in read.values()), str(read)[:1000])
    deleted = next((text for what, text in read.items() if what.startswith("DELETE ")), "")
    tally.check("its own page changes", MARKER in deleted, deleted)
    # It asked for a drain at last.
    code = proxy.process.wait(harness.PATIENCE)
    tally.check("and ends it", code == 0, f"{code}\n{proxy.output()[-2000:]}")


if __name__ == "__main__":
    sys.exit(main())
