"""Changes over REST, and a model of the desired states that their answers allow."""

import http.client
import json
import time
import urllib.error
import urllib.request
from typing import Any, NamedTuple

REFUSED = (
    "database_unavailable",
    "database_refused",
    "lock_not_held",
    "conflict",
    "superseded",
    "no_file_descriptor",
    "too_many_connections",
)
"""Codes of answers after which nothing has changed."""


class Answer(NamedTuple):
    """The answer to a change. The status is 0 without an answer."""

    status: int
    code: str = ""
    recorded: bool = True

    def __str__(self) -> str:
        return f"{self.status} {self.code}{'' if self.recorded else 'unrecorded'}"


class Model:
    """The desired states that a component may have after the answers so far."""

    def __init__(self, state: str) -> None:
        self.possible = {state}
        self.unrecorded: set[str] = set()
        """The states that apply instead if an unrecorded stop was lost."""
        self.history: list[str] = []

    def answered(self, verb: str, answer: Answer, *, overlaps: bool = False) -> None:
        """Notes an answer; `overlaps` if other changes were in progress, so that their order is unknown."""
        target = "running" if verb == "start" else "stopped"
        self.history.append(f"{time.strftime('%H:%M:%S')} {verb} {answer}{' (overlaps)' if overlaps else ''}")
        if answer.code in REFUSED:
            return
        acknowledged = answer.status in (200, 202) or answer.code == "start_failed"
        if not acknowledged or overlaps:
            self.unrecorded |= set() if answer.recorded else self.possible
            self.possible = self.possible | {target}
            return
        self.unrecorded = set() if answer.recorded else self.unrecorded | self.possible
        self.possible = {target}

    def lose_unrecorded(self) -> None:
        """Allows what applies when unrecorded stops are lost."""
        self.possible |= self.unrecorded

    def settle(self, state: str) -> None:
        """Sets the state to what a quiet point has found."""
        self.possible, self.unrecorded = {state}, set()


def post(address: str, path: str, authorization: dict[str, str]) -> Answer:
    """Sends a change."""
    request = urllib.request.Request(address + path, method="POST", headers=authorization)
    try:
        status, body = _sent(request)
    except (OSError, http.client.HTTPException, ValueError) as error:
        # Not connected, or the gateway ended before the answer was complete.
        reason = getattr(error, "reason", error)
        return Answer(0, "conflict" if isinstance(reason, ConnectionRefusedError) else "no answer")
    if status < 400:
        return Answer(status, "", body.get("recorded", True))
    superseded = "was superseded by another gateway" in body["error"]
    return Answer(status, "superseded" if superseded else body["code"])


def _sent(request: urllib.request.Request) -> tuple[int, Any]:
    """Returns status and body of a complete answer."""
    try:
        with urllib.request.urlopen(request, timeout=60) as response:
            return response.status, json.load(response)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)
