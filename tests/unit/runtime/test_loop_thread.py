"""A loop thread in a process without free file descriptors."""

import asyncio
import errno
import gc
import os
import resource

import pytest

from meltica.runtime.loop_thread import LoopThread


@pytest.mark.filterwarnings("ignore:unclosed event loop:ResourceWarning")
@pytest.mark.parametrize("free", [0, 1, 2])
def test_a_loop_that_cannot_be_created_raises_and_leaves_nothing(free: int) -> None:
    thread = LoopThread()
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    opened = [os.open(os.devnull, os.O_RDONLY)]
    resource.setrlimit(resource.RLIMIT_NOFILE, (opened[0] + 50, limits[1]))
    try:
        with pytest.raises(OSError, match="Too many open files"):
            while True:
                opened.append(os.open(os.devnull, os.O_RDONLY))
        for _ in range(free):
            os.close(opened.pop())
        # asyncio.sleep is not reached: a loop needs three descriptors.
        with pytest.raises(OSError, match="Too many open files") as failed:
            thread.prepare(lambda: asyncio.sleep(0))
        assert failed.value.errno == errno.EMFILE
        del failed
        gc.collect()
        opened.extend(os.open(os.devnull, os.O_RDONLY) for _ in range(free))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        for descriptor in opened:
            os.close(descriptor)
