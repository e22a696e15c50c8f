"""Preconditions of changes: the version of what was configured (ETag, If-Match), and plans (`?plan=1`)."""

import hashlib
import json
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from litestar import Request, Response
from msgspec import UNSET, UnsetType

from meltica.api.envelope import Change, Plan
from meltica.control.query import flag
from meltica.http.errors import HttpError
from meltica.persistence.database import rehearsing
from meltica.persistence.stores.audit import Rehearsed
from meltica.persistence.stores.modules import Condition, ModuleState, condition

CHANGE_QUERY: Final = ("plan",)
"""The query parameters that every change of what is configured takes."""


class Planned(Exception):
    """Ends a change before it does anything: the client requested its plan only."""

    def __init__(self, plan: Plan) -> None:
        super().__init__(plan.effect)
        self.plan = plan


def answer_plan(_: Request[Any, Any, Any], planned: Planned) -> Response[Plan]:
    """Answers a request for a plan; a Litestar exception handler."""
    tag = planned.plan.etag
    return Response(planned.plan, status_code=200, headers={} if tag is UNSET else {"etag": tag})


@dataclass(frozen=True)
class Precondition:
    """What a request states about the version that it changes."""

    if_match: str | None
    plan: bool

    @classmethod
    def of(cls, request: Request[Any, Any, Any]) -> "Precondition":
        """Returns the precondition of a request; a dependency, which handlers declare as `precondition`."""
        return cls(request.headers.get("if-match"), flag(request, "plan"))

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
        tag = UNSET if before is None else etag(before)
        self._check_version(tag)
        if self.plan:
            changes = _changes(before or {}, after or {}) | dict(beside or {})
            shown = etag(after) if after is not None else tag
            raise Planned(Plan(effect=effect if changes else "none", changes=changes, etag=shown))

    def check_run(self, effect: str, configured: Mapping[str, Any], before: str, after: str) -> None:
        """Checks the version of what is started or stopped; its plan has the status before and after."""
        states = {} if before == after else {"status": Change(before=before, after=after)}
        self.check(effect, configured, configured, states)

    @contextmanager
    def rehearsal(self) -> Generator[None]:
        """Runs a change of what has no version; if only its plan is requested, all of it but its effects.

        Raises HttpError for a condition, which cannot hold, and Planned in place of what the change does.
        """
        self._check_version(UNSET)
        with self._rehearsing(lambda: UNSET):
            yield

    @contextmanager
    def of_module(self) -> Generator[None]:
        """Runs a change of a module in the same way; the version is checked in its transaction."""

        def check(state: ModuleState | None) -> None:
            self._check_version(module_etag(state))

        expected = Condition(check)
        token = condition.set(expected)
        try:
            with self._rehearsing(lambda: module_etag(expected.after)):
                yield
        finally:
            condition.reset(token)

    @contextmanager
    def _rehearsing(self, version: Callable[[], str | UnsetType]) -> Generator[None]:
        if not self.plan:
            yield
            return
        token = rehearsing.set(True)
        try:
            yield
        except Rehearsed as rehearsed:
            changes = _changes(rehearsed.before or {}, rehearsed.after or {})
            raise Planned(Plan(effect=rehearsed.effect, changes=changes, etag=version())) from None
        finally:
            rehearsing.reset(token)
        raise Planned(Plan(effect="none", changes={}, etag=version()))

    def _check_version(self, tag: str | UnsetType) -> None:
        if self.if_match is not None and not _matches(self.if_match, tag):
            text = f"nothing changed: expected version {self.if_match[:200]}, saw {tag or 'none'}"
            headers = {} if tag is UNSET else {"etag": tag}
            raise HttpError(412, "precondition_failed", f"{text}; read it again", headers=headers)


def etag(configured: Mapping[str, Any]) -> str:
    """Returns the version of what is configured, as the header ETag has it."""
    text = json.dumps(configured, sort_keys=True, separators=(",", ":"), default=str)
    return f'"{hashlib.sha256(text.encode()).hexdigest()[:32]}"'


def module_etag(state: ModuleState | None) -> str | UnsetType:
    """Returns the version of a module, absent for one that does not exist."""
    return UNSET if state is None else etag({**state, "revisions": sorted(state["revisions"])})


def _matches(condition: str, tag: str | UnsetType) -> bool:
    wanted = [each.strip().removeprefix("W/") for each in condition.split(",")]
    return tag is not UNSET and ("*" in wanted or tag in wanted)


def _changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Change]:
    """Returns what differs, by key; an absent value is left out."""
    found: dict[str, Change] = {}
    for name in sorted({*before, *after}):
        old, new = before.get(name), after.get(name)
        if old != new:
            shown = {key: value for key, value in (("before", old), ("after", new)) if value is not None}
            found[name] = Change(**shown)
    return found
