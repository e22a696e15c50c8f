"""A lexer for Rust sources that finds comments, literals and functions."""

import re
from bisect import bisect
from collections.abc import Iterator
from dataclasses import dataclass

_NEXT = re.compile(r"""[/"'\w]""")
_WORD = re.compile(r"[^\W\d]\w*")
_RAW = re.compile(r'(#*)"')
_CHARACTER = re.compile(r"'(?:\\u\{[^}]*\}|\\x..|\\.|[^'\\\n])'")
_ESCAPE = re.compile(r"\\(\r?\n\s*|u\{[^}]*\}|x[0-9a-fA-F]{2}|.)", re.DOTALL)
_FUNCTION = re.compile(r"\bfn\s+([\w$]+)")
_ESCAPED = {"n": "\n", "r": "\r", "t": "\t"}


@dataclass(frozen=True)
class Token:
    """A comment, string or character literal with its text and position."""

    kind: str
    text: str
    start: int
    end: int


@dataclass(frozen=True)
class Function:
    """A function with a body: its name and lines."""

    name: str
    line: int
    lines: int


def tokens(source: str) -> Iterator[Token]:
    """Yields comments, strings and characters; everything else, lifetimes included, is code."""
    at = 0
    while (match := _NEXT.search(source, at)) is not None:
        token = _token(source, match.start())
        if isinstance(token, Token):
            yield token
            at = token.end
        else:
            at = token


def code(source: str) -> str:
    """Blanks out comments and literals, so that braces and keywords can be counted; positions stay."""
    parts: list[str] = []
    at = 0
    for token in tokens(source):
        parts += source[at : token.start], re.sub(r"[^\n]", " ", source[token.start : token.end])
        at = token.end
    return "".join([*parts, source[at:]])


def functions(source: str) -> Iterator[Function]:
    """Yields every function that has a body, those inside others, traits and macros included."""
    text = code(source)
    breaks = [match.start() for match in re.finditer("\n", text)]
    for match in _FUNCTION.finditer(text):
        body = _body(text, match.end())
        if body is not None:
            first, last = bisect(breaks, match.start()) + 1, bisect(breaks, _closed(text, body)) + 1
            yield Function(match[1], first, last - first + 1)


def _token(source: str, at: int) -> Token | int:
    """Returns the token at a position, or the position to continue at."""
    letter = source[at]
    if source.startswith("//", at):
        end = source.find("\n", at)
        end = len(source) if end < 0 else end
        return Token("line comment", source[at:end].lstrip("/!").removesuffix("\r"), at, end)
    if source.startswith("/*", at):
        return _block_comment(source, at)
    if letter == '"':
        return _string(source, at, at)
    if letter == "'":
        match = _CHARACTER.match(source, at)
        return Token("character", match[0][1:-1], at, match.end()) if match else at + 1
    word = _WORD.match(source, at)
    if not word:
        return at + 1
    if word[0] in ("r", "br", "cr") and (raw := _RAW.match(source, word.end())):
        end = source.find(f'"{raw[1]}', raw.end())
        end = len(source) if end < 0 else end
        return Token("string", source[raw.end() : end], at, end + 1 + len(raw[1]))
    if word[0] in ("b", "c") and source.startswith('"', word.end()):
        return _string(source, at, word.end())
    return word.end()


def _block_comment(source: str, start: int) -> Token:
    """Returns a block comment, which may contain others."""
    depth, at = 1, start + 2
    while depth and at < len(source):
        if source.startswith("/*", at):
            depth, at = depth + 1, at + 2
        elif source.startswith("*/", at):
            depth, at = depth - 1, at + 2
        else:
            at += 1
    return Token("block comment", re.sub(r"(?m)^\s*\*+/?", "", source[start + 2 : at - 2]), start, at)


def _string(source: str, start: int, quote: int) -> Token:
    """Returns a string with escapes; a backslash at the end of a line removes the spaces after it."""
    at = quote + 1
    while at < len(source) and source[at] != '"':
        at += 2 if source[at] == "\\" else 1
    return Token("string", _ESCAPE.sub(_unescaped, source[quote + 1 : at]), start, at + 1)


def _unescaped(match: re.Match[str]) -> str:
    escape = match[1]
    if escape[0] in "\r\n":
        return ""
    return _ESCAPED.get(escape, escape if len(escape) == 1 else " ")


def _body(text: str, at: int) -> int | None:
    """Returns the opening brace of the function whose name ends at a position; None without a body."""
    depth = 0
    for position in range(at, len(text)):
        letter = text[position]
        if letter in "([":
            depth += 1
        elif letter in ")]":
            depth -= 1
        elif depth == 0 and letter in "{;":
            return position if letter == "{" else None
    return None


def _closed(text: str, brace: int) -> int:
    """Returns the position of the matching closing brace."""
    depth = 0
    for match in re.compile(r"[{}]").finditer(text, brace):
        depth += 1 if match[0] == "{" else -1
        if depth == 0:
            return match.start()
    return len(text)
