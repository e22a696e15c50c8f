"""What the bearer of a token may do."""

from enum import StrEnum


class TokenScope(StrEnum):
    """The scopes of tokens, the narrowest first: each includes those before it."""

    VIEWER = "viewer"
    """Reads everything but secrets, tokens and the audit."""
    OPERATOR = "operator"
    """Starts and stops, halts and resumes, cancels orders."""
    ADMIN = "admin"
    """Uploads code, deletes, and manages secrets, tokens and backups."""

    def includes(self, other: "TokenScope") -> bool:
        """Returns whether this scope permits what another one does."""
        scopes = list(TokenScope)
        return scopes.index(self) >= scopes.index(other)
