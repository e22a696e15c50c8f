"""Paths that people wrote."""

from pathlib import Path


def from_folder(folder: Path, path: Path) -> Path:
    """Returns where a path leads that starts from `folder`, unless it is absolute or begins with `~`."""
    try:
        return folder / path.expanduser()
    except (RuntimeError, ValueError):
        # There is no such user, or there can be none; what opens the path says so.
        return folder / path
