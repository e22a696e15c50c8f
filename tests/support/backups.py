"""Backups that a restore refuses."""

import copy
import json
from collections.abc import Iterator
from typing import Any

from meltica.control.backup_file import encode


def edited(document: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """Returns a backup with other contents, and the checksum of these."""
    return json.loads(encode({key: value for key, value in document.items() if key != "checksum"} | changes))


def faulty(document: dict[str, Any]) -> Iterator[tuple[str, Any, str]]:
    text = json.dumps(document).encode()
    yield "truncated", text[:-9], "backup_damaged"
    yield "empty", b"", "backup_damaged"
    yield "a list", b"[]", "backup_damaged"
    yield "not UTF-8", b'{"version":1,"environment":"\xff"}', "backup_damaged"
    yield "too deep", b'{"risk":' + b"[" * 100_000, "backup_damaged"
    yield "nothing", {}, "validation_failed"
    yield "hand-edited", {**document, "environment": "prod"}, "backup_damaged"
    yield "one letter", text.replace(b"levels: int", b"1evels: int"), "backup_damaged"
    yield "newer", edited(document, version=2), "backup_version"
    yield "newer without a checksum", {"version": 99, "what": 1}, "backup_version"
    yield "a strange version", edited(document, version="one"), "backup_version"
    yield "a NUL", edited(document, environment="a\0b"), "validation_failed"
    yield "an unknown key", edited(document, more=1), "validation_failed"
    yield "given twice", text.replace(b'"version"', b'"Version":1,"version"'), "validation_failed"
    faults: dict[str, list[Any]] = {
        "providers": [
            {},
            [1],
            [{"name": "x"}],
            [{"name": "x", "adapter": "nope"}],
            [{"name": "-", "adapter": "fake"}],
        ],
        "lambdas": [1, [{}], [{"id": "x"}]],
        "limits": [[], {"globl": {}}, {"global": 1}, {"global": {"maxOpenOrders": -1}}],
        "risk": [1],
        "modules": [[1], [{"name": "grid"}]],
        "secrets": [1],
    }
    for key, values in faults.items():
        for value in values:
            changes: dict[str, Any] = {key: value} if key != "risk" else {key: value, "limits": None}
            code = "backup_damaged" if key == "secrets" else "validation_failed"
            yield f"{key} {value}", edited(document, **changes), code
    yield from deep(document)


def deep(document: dict[str, Any]) -> Iterator[tuple[str, Any, str]]:
    def changed(key: str, place: int, **values: Any) -> dict[str, Any]:
        copied = copy.deepcopy(document)
        copied[key][place] |= values
        return edited(copied)

    module = document["modules"][0]
    yield "another source", changed("modules", 0, source="x = 1"), "validation_failed"
    yield "no source", changed("modules", 0, source=None), "validation_failed"
    yield "a shipped name", changed("modules", 0, name="noop"), "validation_failed"
    yield "a bad tag", changed("modules", 0, tags=["../x"]), "validation_failed"
    yield "one tag twice", changed("modules", 1, tags=["1", "latest"]), "validation_failed"
    yield "one revision twice", edited(document, modules=[module, *document["modules"]]), "validation_failed"
    yield "an unknown setting", changed("providers", 0, config={"nope": 1}), "validation_failed"
    yield "a setting", changed("providers", 0, config={"depth": "x"}), "validation_failed"
    yield "a name", changed("providers", 0, name="meltica"), "validation_failed"
    yield "a provider twice", edited(document, providers=document["providers"] * 2), "validation_failed"
    yield "no provider", edited(document, providers=[]), "validation_failed"
    yield "an instance twice", edited(document, lambdas=document["lambdas"] * 2), "validation_failed"
    yield "wasRunning", changed("lambdas", 0, wasRunning=1), "validation_failed"
    strategy = document["lambdas"][0]["strategy"]
    for more in (
        {"hash": "sha256:" + "0" * 64},
        {"hash": "x"},
        {"config": {"levels": "many"}},
        {"config": {"x": 1}},
    ):
        yield f"strategy {more}", changed("lambdas", 0, strategy=strategy | more), "validation_failed"
    gone = strategy | {"identifier": "nope", "selector": "nope:latest"}
    yield "another strategy", changed("lambdas", 0, strategy=gone), "validation_failed"
