"""A user of a Bindu agent: A2A over HTTP (JSON-RPC 2.0), `message/send` and then `tasks/get` until the task has ended."""

import json
import time
import urllib.request
import uuid

# States from which a task does not go on by itself.
ENDED = {"completed", "failed", "canceled", "rejected", "input-required", "auth-required"}
POLL = 0.05


class User:
    """One user, whose messages belong to one conversation each."""

    def __init__(self, url: str, patience: float = 40.0):
        # Longer than the core's own deadline for an agent's answer, so that the core's verdict is seen.
        self.url, self.patience = url, patience

    def ask(self, text: str) -> tuple[str, str]:
        """Sends one message; returns the task's last state and the agent's answer (or what went wrong)."""
        message = {
            "role": "user",
            "kind": "message",
            "messageId": str(uuid.uuid4()),
            "contextId": str(uuid.uuid4()),
            "taskId": str(uuid.uuid4()),
            "parts": [{"kind": "text", "text": text}],
        }
        task = self.call("message/send", {"message": message, "configuration": {"acceptedOutputModes": ["text/plain"]}})
        end = time.monotonic() + self.patience
        while task["status"]["state"] not in ENDED and time.monotonic() < end:
            time.sleep(POLL)
            task = self.call("tasks/get", {"taskId": task["id"]})
        return task["status"]["state"], answer(task)

    def call(self, method: str, params: dict) -> dict:
        body = json.dumps({"jsonrpc": "2.0", "id": str(uuid.uuid4()), "method": method, "params": params}).encode()
        request = urllib.request.Request(self.url, body, {"content-type": "application/json"})
        with urllib.request.urlopen(request, timeout=30) as response:
            reply = json.load(response)
        if "error" in reply:
            raise RuntimeError(f"{method}: {reply['error']}")
        return reply["result"]


def answer(task: dict) -> str:
    """The text of the agent's last message; a failed task has the reason there."""
    said = [m for m in task.get("history", []) if m["role"] == "agent"]
    return " ".join(part.get("text", "") for part in said[-1]["parts"]) if said else ""
