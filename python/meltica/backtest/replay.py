"""Replays recordings through the data plane into lambdas and reports the result.

`meltica replay` and `meltica.testing` are built on it. A replay is lossless: every kind is queued with the
policy `block`, and the hosts run on the events' clock.
"""

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from meltica._core import Codec, Core, Watch
from meltica.errors import LambdaError, LambdaStopped, MelticaError, ReplayError
from meltica.lambdas.base import Lambda
from meltica.lambdas.definition import KINDS
from meltica.lambdas.instances import LambdaInstance, Scope, add_instance
from meltica.model.enums import PRIVATE_KINDS
from meltica.model.symbols import ANY

if TYPE_CHECKING:
    from meltica._core import Host, Producer
    from meltica.adapters.replay.adapter import ReplayAdapter

Status = Literal["ok", "failed", "lambda_failed", "input_damaged", "unreliable", "interrupted"]

EXIT_CODES: dict[Status, int] = {
    "ok": 0,
    "failed": 1,
    "lambda_failed": 3,
    "input_damaged": 4,
    "unreliable": 5,
    "interrupted": 130,
}

STOP_SECONDS = 5.0
MOST_BAD = 0.01
"""Part of bad frames, or of failed checksums, above which a replay is unreliable."""
MOST_UNVERIFIED = 100
"""Checksums of a symbol, none of them verified, from which on a replay is unreliable."""
_DECODED = (
    "events",
    "unwanted",
    "duplicates",
    "stale_ids",
    "old_books",
    "old_snapshots",
    "buffered_diffs",
    "gaps",
    "history_trades",
    "unchanged_tickers",
    "repeated_candles",
    "repeated_diffs",
)
"""Counters of decoded frames."""
_LOSSLESS = {kind: "block" for kind in KINDS if kind not in PRIVATE_KINDS}


class LambdaRaised(LambdaError):
    """A lambda could not be started because its `__init__` or `on_start` raised."""


@dataclass(frozen=True)
class Run:
    """A lambda to run: its class, instance id and config."""

    cls: type[Lambda]
    id: str
    config: Mapping[str, object] = field(default_factory=dict[str, object])


class Replay:
    """One replay: `run` blocks, `stop` ends it from any thread."""

    def __init__(
        self,
        adapter: "ReplayAdapter",
        runs: Sequence[Run],
        *,
        host: Literal["thread", "shared"] = "shared",
        symbols: Sequence[str] = (),
        max_errors: int = 0,
    ) -> None:
        """Creates the data plane and the instances; starts nothing. Raises what `add_instance` raises."""
        self._adapter = adapter
        self._core = Core()
        declaration = adapter.codec()
        codec = Codec(declaration) if declaration is not None else None
        self._producers: dict[str, Producer] = {p: self._core.producer(p, codec) for p in adapter.providers()}
        self._scope: Scope = {provider: list(symbols) or ANY for provider in self._producers}
        self._hosts: list[Host] = []
        self._instances: list[LambdaInstance] = []
        self._stopping = threading.Event()
        self._interrupted_start: str | None = None
        self._failure: BaseException | None = None
        self._started_ns = self._ended_ns = time.monotonic_ns()
        for run in runs:
            if host == "thread" or not self._hosts:
                self._hosts.append(self._core.host(host, clock="event"))
            self._instances.append(self._add(self._hosts[-1], run, max_errors))

    @property
    def producers(self) -> "Mapping[str, Producer]":
        """The producers by the name of their provider."""
        return self._producers

    @property
    def instances(self) -> list[LambdaInstance]:
        """The lambdas of this replay, in the order of `runs`."""
        return list(self._instances)

    def run(self, wait: Callable[[threading.Thread], object] = threading.Thread.join) -> None:
        """Starts the lambdas, plays the recordings, and waits until all events are handled.

        The recordings are played on a separate thread, so that the calling thread can handle signals; `wait`
        waits for this thread. Raises LambdaRaised, or ReplayError when a file is damaged.
        """
        self._adapter.start(self._producers)
        self._started_ns = time.monotonic_ns()
        try:
            for instance in self._instances:
                if not self._stopping.is_set():
                    self._start(instance)
            thread = threading.Thread(target=self._play, name="meltica-replay", daemon=True)
            thread.start()
            wait(thread)
            while not self._stopping.is_set() and not self._drained():
                pass
        finally:
            self._ended_ns = time.monotonic_ns()
        if self._failure is not None:
            raise self._failure

    def watch(self) -> Watch:
        """Returns a watch of the callbacks; the caller closes it."""
        return Watch(self._core)

    def stop(self) -> None:
        """Ends `run` soon, also while `on_start` of a lambda runs. Thread-safe."""
        self._stopping.set()
        self._adapter.stop()
        for instance in self._instances:
            state = instance.state
            if state == "starting":
                self._interrupted_start = instance.id
            if state in ("created", "starting"):
                instance.stop(0.0)

    def finish(self, timeout: float = STOP_SECONDS) -> bool:
        """Stops the lambdas and their threads; returns False when one is stuck in a callback."""
        self.stop()
        clean = [host.stop(timeout) for host in self._hosts]
        self._core.close()
        return all(clean)

    def report(self, status: Status, error: str | None = None) -> dict[str, Any]:
        """Returns the result as JSON; instead of `ok`, the status is `lambda_failed` or `unreliable`."""
        lambdas = [{"class": type(i.subject).__name__, **i.stats()} for i in self._instances]
        broken = [stats for stats in lambdas if stats["state"] in ("failed", "stuck")]
        if status == "ok" and broken:
            status = "lambda_failed"
            error = "; ".join(f"{s['id']} {_cause(s)}" for s in broken)
        if status == "interrupted" and self._interrupted_start is not None:
            error = f"interrupted while on_start of {self._interrupted_start} ran"
        providers = {name: producer.stats() for name, producer in self._producers.items()}
        stale = {name: producer.stale_books() for name, producer in self._producers.items()}
        if status == "ok" and (faults := [*self._doubts(providers, stale)]):
            status, error = "unreliable", "; ".join(faults)
        return {
            "status": status,
            "exit_code": EXIT_CODES[status],
            "error": error,
            "seconds": round((self._ended_ns - self._started_ns) / 1e9, 6),
            **_totals(list(providers.values()), lambdas),
            "never_synced": [symbol for books in stale.values() for symbol, was in books.items() if not was],
            "stale_at_end": [symbol for books in stale.values() for symbol, was in books.items() if was],
            "unverified": self._unverified(),
            "checksum_faults": {
                symbol: fault
                for producer in self._producers.values()
                for symbol, fault in producer.checksum_faults().items()
            },
            "unused": self._unused(list(providers.values())),
            "providers": providers,
            "lambdas": lambdas,
            "bad_frames": [
                {
                    "provider": name,
                    "received_time": received,
                    "error": text,
                    "frame": frame[:200].decode("utf-8", "replace"),
                }
                for name, producer in self._producers.items()
                for received, text, frame in producer.bad_frames()
            ],
            "core": {key: value for key, value in self._core.stats().items() if key != "providers"},
        }

    def _doubts(
        self, providers: Mapping[str, Mapping[str, Any]], stale: Mapping[str, Mapping[str, bool]]
    ) -> Iterator[str]:
        """Yields why the events of a provider are not those of its recordings."""
        for name, stats in providers.items():
            frames, bad = stats["frames"], sum(stats["errors"].values())
            of = f"of {frames:,} frames could be decoded"
            such = f", such as: {self._producers[name].bad_frames()[0][1]}" if bad else ""
            if not frames and not stats["events"] and self._adapter.codec() is not None:
                yield f"{name}: the recording holds no frames"
            elif frames and not any(stats[key] for key in _DECODED) and frames <= bad + stats["ignored"]:
                yield f"{name}: none {of}{such}"
            elif bad > frames * MOST_BAD:
                yield f"{name}: {bad:,} messages of {frames:,} frames are bad{such}"
            if never := [symbol for symbol, was in stale[name].items() if not was]:
                yield f"{name}: books never synced, as no valid snapshot fits their changes: {_some(never)}"
            if ended := [symbol for symbol, was in stale[name].items() if was]:
                yield f"{name}: books stale at the end, without a valid snapshot since: {_some(ended)}"
            failed, verified = stats["checksums_failed"], stats["checksums_verified"]
            if failed > (failed + verified) * MOST_BAD:
                yield f"{name}: {failed:,} of {failed + verified:,} checksums failed"
            checksums = self._producers[name].unverified().items()
            if unproved := [
                symbol for symbol, (n, verified) in checksums if n >= MOST_UNVERIFIED and not verified
            ]:
                yield f"{name}: books with checksums of which none could be verified: {_some(unproved)}"

    def _unverified(self) -> dict[str, int]:
        """Returns the symbols with checksums that were not verified, and the number of these checksums."""
        total: Counter[str] = Counter()
        for producer in self._producers.values():
            total.update({symbol: n for symbol, (n, _) in producer.unverified().items()})
        return dict(total)

    def _unused(self, providers: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """Returns what was decoded or recorded and has no events."""
        samples = [(name, frame) for name, each in self._producers.items() for frame in each.ignored_frames()]
        return {
            "unmatched": sum(row["unmatched"] for row in providers),
            "control": sum(row["control"] for row in providers),
            "unwanted": sum(row["unwanted"] for row in providers),
            "duplicates": sum(row["duplicates"] for row in providers),
            "old": sum(
                row["stale_ids"] + row["old_books"] + row["old_snapshots"] + row["old_frames"]
                for row in providers
            ),
            "history": sum(row["history_trades"] for row in providers),
            "unchanged": sum(
                row["unchanged_tickers"] + row["repeated_candles"] + row["repeated_diffs"] + row["heartbeats"]
                for row in providers
            ),
            "bad_candles": sum(row["bad_candles"] for row in providers),
            "partial_books": sum(row["partial_books"] for row in providers),
            "unplaced_snapshots": sum(row["errors"].get("no_symbol", 0) for row in providers),
            "sample": [
                {"provider": name, "frame": frame[:200].decode("utf-8", "replace")} for name, frame in samples
            ],
        }

    def _add(self, host: "Host", run: Run, max_errors: int) -> LambdaInstance:
        try:
            return add_instance(
                host,
                run.cls,
                id=run.id,
                scope=self._scope,
                config=run.config,
                policies=_LOSSLESS,
                max_errors=max_errors,
            )
        except ValueError as error:
            raise LambdaError(f"{run.id}: {error}") from error
        except MelticaError:
            raise
        except SystemExit as error:
            raise LambdaRaised(f"{run.id}: its Config or __init__ raised SystemExit: {error}") from error
        except Exception as error:
            raise LambdaRaised(f"{run.id}: __init__ raised {type(error).__name__}: {error}") from error

    def _start(self, instance: LambdaInstance) -> None:
        try:
            instance.start()
        except (Exception, SystemExit, LambdaStopped) as error:
            if self._stopping.is_set():
                return
            raise LambdaRaised(f"{instance.id}: on_start raised {type(error).__name__}: {error}") from error

    def _play(self) -> None:
        try:
            self._adapter.run()
        except BaseException as error:
            self._failure = error

    def _drained(self) -> bool:
        return all(producer.drain(0.2) for producer in self._producers.values())


def _totals(providers: Sequence[Mapping[str, Any]], lambdas: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    def summed(key: str, rows: Sequence[Mapping[str, Any]]) -> dict[str, int]:
        total: Counter[str] = Counter()
        for row in rows:
            total.update(row[key])
        return dict(total)

    return {
        "frames": sum(row["frames"] for row in providers),
        "bytes": sum(row["bytes"] for row in providers),
        "events": summed("events", providers),
        "gaps": sum(row["gaps"] for row in providers),
        "stale_books": summed("stale", providers),
        "unsynced_books": sum(row["unsynced_books"] for row in providers),
        "frame_errors": summed("errors", providers),
        "checksums": {
            outcome: sum(row.get(f"checksums_{outcome}", 0) for row in providers)
            for outcome in ("verified", "failed", "unverified")
        },
        "restarts": {
            of: sum(row[key] for row in providers)
            for of, key in (("ids", "id_restarts"), ("frames", "frame_restarts"))
        },
        "late_trades": sum(row["late_trades"] for row in providers),
        "crossed_tickers": sum(row["crossed_tickers"] for row in providers),
        "unknown_enums": sum(row["unknown_enums"] for row in providers),
        "drops": summed("dropped", lambdas),
        "callback_errors": sum(row["errors"] for row in lambdas),
    }


def _some(symbols: Sequence[str]) -> str:
    more = f" and {len(symbols) - 5} more" if len(symbols) > 5 else ""
    return ", ".join(symbols[:5]) + more


def _cause(stats: Mapping[str, Any]) -> str:
    last = stats["last_error"]
    if stats["state"] == "stuck":
        return "is stuck in a callback that does not return"
    return f"failed: {last}" if last else "failed"


__all__ = ["EXIT_CODES", "LambdaRaised", "Replay", "ReplayError", "Run"]
