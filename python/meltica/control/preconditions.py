"""Preconditions of changes: the version of what was configured (ETag, If-Match), and plans (`?plan=1`)."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from litestar import Request, Response

from meltica.api.envelope import Change, Plan
from meltica.http.errors import HttpError

CHANGE_QUERY: Final = ("plan",)
"""The query parameters that every change of what is configured takes."""


class Planned(Exception):
    """Ends a change before it does anything: the client requested its plan only."""

    def __init__(self, plan: Plan) -> None:
        super().__init__(plan.effect)
        self.plan = plan


def answer_plan(_: Request[Any, Any, Any], planned: Planned) -> Response[Plan]:
    """Answers a request for a plan; a Litestar exception handler."""
    return Response(planned.plan, status_code=200, headers={"etag": planned.plan.etag})


@dataclass(frozen=True)
class Precondition:
    """What a request states about the version that it changes."""

    if_match: str | None
    plan: bool

    @classmethod
    def of(cls, request: Request[Any, Any, Any]) -> "Precondition":
        """Returns the precondition of a request."""
        plan = request.query_params.get("plan", "")
        if plan not in ("", "0", "1", "false", "true"):
            raise HttpError(400, "invalid_parameter", f"`plan`: expected 0 or 1, saw {plan[:80]!r}")
        return cls(request.headers.get("if-match"), plan in ("1", "true"))

    def check(
        self,
        effect: str,
        before: Mapping[str, Any] | None,
        after: Mapping[str, Any] | None,
        beside: Mapping[str, Change] | None = None,
    ) -> None:
        """Raises HttpError if another version is configured, and Planned if only the plan is requested.

        `before` and `after` are what is configured; None is what does not exist. `beside` has changes of
        what has no version.
        """
        tag = None if before is None else etag(before)
        if self.if_match is not None and not _matches(self.if_match, tag):
            text = f"nothing changed: expected version {self.if_match[:200]}, saw {tag or 'none'}"
            headers = {} if tag is None else {"etag": tag}
            raise HttpError(412, "precondition_failed", f"{text}; read it again", headers=headers)
        if self.plan:
            changes = _changes(before or {}, after or {}) | dict(beside or {})
            shown = etag(after) if after is not None else tag
            raise Planned(Plan(effect=effect if changes else "none", changes=changes, etag=shown or ""))


def etag(configured: Mapping[str, Any]) -> str:
    """Returns the version of what is configured, as the header ETag has it."""
    text = json.dumps(configured, sort_keys=True, separators=(",", ":"), default=str)
    return f'"{hashlib.sha256(text.encode()).hexdigest()[:32]}"'


def _matches(condition: str, tag: str | None) -> bool:
    wanted = [each.strip().removeprefix("W/") for each in condition.split(",")]
    return tag is not None and ("*" in wanted or tag in wanted)


def _changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Change]:
    """Returns what differs, by key; an absent value is left out."""
    found: dict[str, Change] = {}
    for name in sorted({*before, *after}):
        old, new = before.get(name), after.get(name)
        if old != new:
            shown = {key: value for key, value in (("before", old), ("after", new)) if value is not None}
            found[name] = Change(**shown)
    return found
