"""Changes over REST, and a model of the desired states that their answers allow."""

import json
import time
import urllib.error
import urllib.request

REFUSED = ("database_unavailable", "lock_not_held", "conflict")
"""Codes of answers after which nothing has changed."""


class Model:
    """The desired states that a component may have after the answers so far."""

    def __init__(self, state: str) -> None:
        self.possible = {state}
        self.unrecorded: set[str] = set()
        """The states that apply instead if an unrecorded stop was lost."""
        self.history: list[str] = []

    def answered(self, verb: str, status: int, code: str, recorded: bool) -> None:
        target = "running" if verb == "start" else "stopped"
        self.history.append(
            f"{time.strftime('%H:%M:%S')} {verb} {status} {code}{'' if recorded else ' unrecorded'}"
        )
        if status in (200, 202) or code == "start_failed":
            if not recorded:
                self.unrecorded |= self.possible
            else:
                self.unrecorded = set()
            self.possible = {target}
        elif code not in REFUSED:
            self.possible = self.possible | {target}

    def lose_unrecorded(self) -> None:
        """Allows what applies when unrecorded stops are lost."""
        self.possible |= self.unrecorded

    def settle(self, state: str) -> None:
        self.possible, self.unrecorded = {state}, set()


def post(address: str, path: str) -> tuple[int, str, bool]:
    """Sends a change; returns status, code and whether it is recorded. Code `refused`: not connected."""
    request = urllib.request.Request(address + path, method="POST")
    try:
        with urllib.request.urlopen(request, timeout=30) as response:
            return response.status, "", json.load(response).get("recorded", True)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error).get("code", ""), True
    except (urllib.error.URLError, OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        return 0, "conflict" if isinstance(reason, ConnectionRefusedError) else "no answer", True
