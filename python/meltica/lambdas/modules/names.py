"""Names of modules, tags and revisions, and the selectors made of them.

A selector is `name`, `name:tag`, `name@sha256:...` or a hash alone. Names and tags are not case-sensitive.
"""

import re
from dataclasses import dataclass

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_TAG = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,63}")
_HASH = re.compile(r"(?:sha256:)?([0-9a-fA-F]{64})")


@dataclass(frozen=True)
class Selector:
    """A parsed selector. Without tag and hash, it selects `latest`; a hash alone has no name."""

    name: str | None
    tag: str | None = None
    hash: str | None = None

    def __str__(self) -> str:
        """Returns the canonical form."""
        if self.hash is not None:
            return f"{self.name}@{self.hash}" if self.name else self.hash
        return f"{self.name}:{self.tag}" if self.tag else str(self.name)


def parse(text: str) -> Selector:
    """Returns a parsed selector. Raises ValueError when it has no valid form."""
    text = text.strip()
    if (only := canonical_hash(text)) is not None:
        return Selector(None, hash=only)
    if "@" in text:
        name, _, value = text.partition("@")
        digest = canonical_hash(value)
        if digest is None:
            raise ValueError(f"selector {text!r}: expected `name@sha256:` and 64 hex digits, saw {value!r}")
        return Selector(_valid_name(name), hash=digest)
    name, colon, tag = text.rpartition(":") if ":" in text else (text, "", "")
    if colon and (fault := tag_fault(tag)) is not None:
        raise ValueError(f"selector {text!r}: {fault}")
    return Selector(_valid_name(name), tag=tag if colon else None)


def stored(reference: str) -> Selector | None:
    """Returns the selector of a stored module in a reference to a strategy; None for any other reference.

    Such a reference always has a tag or a hash, so it is neither a file nor the name of a shipped strategy.
    Raises ValueError when the tag or hash is not valid.
    """
    name = re.split("[:@]", reference, maxsplit=1)[0].strip().lower()
    if name == reference.strip().lower() or name_fault(name) is not None or name.endswith(".py"):
        return None
    return parse(reference)


def canonical_hash(text: str) -> str | None:
    """Returns `sha256:...` in lower case, or None for what is not a whole hash."""
    match = _HASH.fullmatch(text.strip())
    return None if match is None else f"sha256:{match[1].lower()}"


def name_fault(name: str) -> str | None:
    """Returns why a name is not valid, or None."""
    if _NAME.fullmatch(name) and ".." not in name:
        return None
    return f"the name {name[:80]!r} is not valid: expected up to 64 letters, digits, `.`, `_` and `-`"


def tag_fault(tag: str) -> str | None:
    """Returns why a tag is not valid, or None."""
    if _TAG.fullmatch(tag) and ".." not in tag:
        return None
    return f"the tag {tag[:80]!r} is not valid: expected up to 64 letters, digits, `.`, `_`, `+` and `-`"


def _valid_name(text: str) -> str:
    name = text.strip().lower()
    fault = name_fault(name)
    if fault is not None:
        raise ValueError(f"selector: {fault}")
    return name
