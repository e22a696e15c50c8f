"""The file of a backup: JSON with a version and a checksum.

1. The checksum is that of the canonical JSON of all other keys, so it survives indentation and another order
   of keys. Numbers count by value: a client may write 1.0 as 1.
2. A file without a version is one of the earlier format, whose keys are accepted in any case.
3. A file is read in pieces: one long call of a parser would hold the interpreter, and delay callbacks.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from mmap import mmap
from typing import Any, Final, cast

import msgspec

from meltica.http.errors import HttpError
from meltica.http.json_bodies import MAX_NESTING
from meltica.validation.models import Loc, keys, model_of

VERSION: Final = 1
MAX_BYTES: Final = 64 << 20
"""Maximum size of a file in bytes."""
AGAIN: Final = "take the backup again"
UNCHECKED: Final = frozenset({"checksum", "passphrase"})
KEYS: Final = (
    "version",
    "generatedAt",
    "environment",
    "providers",
    "lambdas",
    "risk",
    "limits",
    "runtime",
    "modules",
    "secrets",
    *sorted(UNCHECKED),
)
"""The keys of a file; `passphrase` is added by the client that restores it."""

SECTIONS: Final = {"providers": ("runtime", "config"), "lambdas": ("instances",)}
"""Lists that `/config/backup` has in sections: the key of the list, and others, which are not restored."""


def encode(document: Mapping[str, Any]) -> bytes:
    """Returns a document with its checksum. Raises HttpError for one that could not be restored."""
    digest, content = hashlib.sha256(), bytearray()
    for piece in _pieces(document):
        digest.update(piece)
        content += piece
    content[-1:] = b',"checksum":"sha256:' + digest.hexdigest().encode() + b'"}'
    if len(content) > MAX_BYTES:
        text = f"it has {len(content):,} bytes, and a restore takes at most {MAX_BYTES:,}"
        raise HttpError(409, "backup_too_large", f"backup not made: {text}; delete revisions of modules")
    return bytes(content)


def decode(content: bytes | mmap) -> dict[str, Any]:
    """Returns the document of a file, with its keys in their own spelling.

    Raises HttpError for a file that is damaged, of a newer version, or does not have its checksum.
    """
    document: dict[str, Any] = {}
    for key, value in _decoded(content, dict[str, msgspec.Raw]).items():
        items = _decoded(value, list[msgspec.Raw]) if bytes(memoryview(value)[:1]) == b"[" else None
        document[key] = _decoded(value, Any) if items is None else [_decoded(item, Any) for item in items]
    if _has_nul(document, MAX_NESTING):
        raise refused("validation_failed", "expected text without NUL characters, which cannot be stored")
    spelled = respelled(document, KEYS)
    _check_version(spelled.get("version"))
    checksum = spelled.get("checksum")
    if checksum is not None and checksum != _checksum(document):
        text = "its checksum is that of another content: the file is damaged or was edited"
        raise refused("backup_damaged", f"{text}; {AGAIN}, or remove `checksum` to restore what was edited")
    return spelled


def without_sections(document: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Loc]]:
    """Returns a document of `/config/backup` in the form of `/context/backup`, and where its lists were.

    Raises HttpError for an unknown key.
    """
    places: dict[str, Loc] = {key: (key,) for key in SECTIONS}
    for key, (inner, *others) in SECTIONS.items():
        if not isinstance(document.get(key), Mapping):
            continue
        section = respelled(document[key], (inner, *others))
        unknown = [f"{key}.{each}" for each in section if each not in (inner, *others)]
        if unknown:
            texts = {each: f"`{each[:80]}` is unknown" for each in unknown}
            text = f"backup not restored, nothing changed: {'; '.join(texts.values())}"
            raise HttpError(400, "validation_failed", text, texts)
        places[key] = (key, inner)
        document = {**document, key: section.get(inner)}
    return document, places


def respelled(given: Mapping[str, Any], names: Iterable[str]) -> dict[str, Any]:
    """Returns an object with those of its keys that have another case spelled as in `names`.

    Raises HttpError for a key that is given twice.
    """
    spelled = {name.lower(): name for name in names}
    result: dict[str, Any] = {}
    for key, value in given.items():
        name = spelled.get(key.lower(), key)
        if name in result:
            raise refused("validation_failed", f"`{key}` is given twice; give it once")
        result[name] = value
    return result


def spelled(annotation: object, given: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the values of a model, and of those in it, with their keys as in the model.

    Raises HttpError for a key that is given twice.
    """
    model = model_of(annotation)
    fields = {} if model is None else keys(model)
    return {
        key: spelled(fields[key].annotation, cast(Mapping[str, Any], value))
        if key in fields and isinstance(value, Mapping)
        else value
        for key, value in respelled(given, fields).items()
    }


def refused(code: str, text: str, status: int = 400) -> HttpError:
    """Returns the error for a backup that is refused as a whole."""
    return HttpError(status, code, f"backup not restored, nothing changed: {text}")


def _check_version(version: object) -> None:
    if version is None:
        return
    if isinstance(version, str) and version.isascii() and version.isdecimal() and len(version) < 9:
        version = int(version)
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        raise refused("backup_version", f"`version`: expected {VERSION}, saw {str(version)[:40]}; {AGAIN}")
    if version > VERSION:
        text = f"it has version {version}, and this gateway reads {VERSION}; upgrade Meltica"
        raise refused("backup_version", text)


def _decoded(value: Any, kind: Any) -> Any:
    try:
        return msgspec.json.decode(value, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        cause = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
        text = f"the file is damaged or truncated, or not a backup: {cause}; {AGAIN}"
        raise refused("backup_damaged", text) from None


def _checksum(document: Mapping[str, Any]) -> str:
    digest = hashlib.sha256()
    for piece in _pieces({key: value for key, value in document.items() if key.lower() not in UNCHECKED}):
        digest.update(piece)
    return f"sha256:{digest.hexdigest()}"


def _pieces(document: Mapping[str, Any]) -> Iterator[bytes]:
    """Yields the canonical JSON of a document in pieces (3)."""
    yield b"{"
    for number, key in enumerate(sorted(document)):
        yield b"," * bool(number) + _canonical(key) + b":"
        value = document[key]
        if isinstance(value, list):
            yield b"["
            for place, item in enumerate(cast(list[Any], value)):
                yield b"," * bool(place) + _canonical(item)
            yield b"]"
        else:
            yield _canonical(value)
    yield b"}"


def _canonical(value: Any) -> bytes:
    return json.dumps(_by_value(value), sort_keys=True, separators=(",", ":")).encode()


def _has_nul(value: Any, levels: int) -> bool:
    """Returns whether a text has a NUL character. Raises HttpError for more than so many levels."""
    if isinstance(value, dict | list) and not levels:
        text = f"it is nested too deeply: expected at most {MAX_NESTING} levels"
        raise refused("backup_damaged", f"the file is damaged, or not a backup: {text}")
    if isinstance(value, dict):
        items = cast(dict[str, Any], value).items()
        return any("\0" in key or _has_nul(inner, levels - 1) for key, inner in items)
    if isinstance(value, list):
        return any(_has_nul(inner, levels - 1) for inner in cast(list[Any], value))
    return isinstance(value, str) and "\0" in value


def _by_value(value: Any) -> Any:
    """1: returns JSON with whole numbers as integers."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, dict):
        return {key: _by_value(inner) for key, inner in cast(dict[str, Any], value).items()}
    if isinstance(value, list):
        return [_by_value(inner) for inner in cast(list[Any], value)]
    return value
