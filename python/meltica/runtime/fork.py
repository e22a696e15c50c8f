"""Sockets that a forked child must not keep.

Strategies may fork: `os.fork`, `multiprocessing`, `ProcessPoolExecutor`. A child that keeps the listening
socket would keep the port in use after the gateway has ended, and one that keeps the connection of the
gateway lock would keep the lock held. Programs that a child executes inherit none, as all are close-on-exec.

In the child, `/dev/null` takes the place of each descriptor. Its number stays in use, so objects that still
refer to it can neither reach the socket, for example to end a TLS session, nor close another file.
"""

import contextlib
import os
from typing import Protocol
from weakref import WeakSet


class HasDescriptor(Protocol):
    """A socket, or an object with one."""

    def fileno(self) -> int:
        """Returns the descriptor; raises, or returns -1, when it is closed."""
        ...


_owners: WeakSet[HasDescriptor] = WeakSet()
_count = 0


def close_in_children(owner: HasDescriptor) -> None:
    """Closes the descriptor of `owner` in the children that are forked from now on, until it is collected."""
    _owners.add(owner)


def fork_count() -> int:
    """Returns a number that changes with each fork.

    A socket that was opened while the number stayed the same, and registered before it was read again, is in
    no child.
    """
    return _count


def _counted() -> None:
    global _count
    _count += 1


def _in_child() -> None:
    owners = list(_owners)
    _owners.clear()
    null = -1
    with contextlib.suppress(OSError):
        null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    for owner in owners:
        # An object that is closing in the parent may raise anything; the others still need to be closed.
        with contextlib.suppress(Exception):
            _replace(owner.fileno(), null)
    if null >= 0:
        os.close(null)


def _replace(descriptor: int, null: int) -> None:
    if descriptor < 0:
        return
    if null < 0:
        os.close(descriptor)
    else:
        os.dup2(null, descriptor, inheritable=False)


os.register_at_fork(before=_counted, after_in_parent=_counted, after_in_child=_in_child)
