"""The heartbeat: requests a URL of the operator as long as the gateway is ready, so that silence is noticed.

It has a thread and a loop of its own. A gateway whose loop hangs does not answer the question whether it is
ready, so it counts as not ready: the URL is not requested, and `failUrl` is, if there is one.
"""

import asyncio
import logging
import threading
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, Final

import orjson
from pydantic import SecretStr

from meltica.notifications.sender import NotDelivered, http_client, post
from meltica.notifications.spec import HeartbeatSettings
from meltica.runtime.loop_thread import LoopThread
from meltica.runtime.threads import call

READY_SECONDS: Final = 5.0
"""How long the gateway may take to answer whether it is ready."""
_HEADERS: Final = {"content-type": "application/json"}

Faults = Callable[[], Coroutine[Any, Any, dict[str, str]]]

log = logging.getLogger("meltica.notifications")


class Heartbeat:
    """The heartbeat of a gateway, from `start` to `stop`."""

    def __init__(self, settings: HeartbeatSettings, faults: Faults) -> None:
        """`faults` returns what is not as it should be; it runs on the loop of `start`."""
        self._settings = settings
        self._faults = faults
        self._own = LoopThread()
        self._thread: threading.Thread | None = None
        self._failure: str | None = None

    def start(self, gateway: asyncio.AbstractEventLoop) -> None:
        """Starts the thread, if a URL is configured."""
        url = self._settings.url
        if url is not None:
            beat = partial(self._beat_for_ever, url, gateway)
            self._thread = threading.Thread(
                target=self._own.run, args=(beat,), name="meltica-heartbeat", daemon=True
            )
            self._thread.start()

    async def stop(self) -> None:
        """Ends the thread. A request that is being sent is given up."""
        self._own.stop()
        if self._thread is not None:
            await call(self._thread.join, "meltica-heartbeat-stop")

    async def _beat_for_ever(self, url: SecretStr, gateway: asyncio.AbstractEventLoop) -> None:
        async with http_client() as client:
            while True:
                faults = await self._ask(gateway)
                target = self._settings.fail_url if faults else url
                if target is not None:
                    body = orjson.dumps({"ready": not faults, "faults": faults})
                    try:
                        await post(client, target, body, _HEADERS)
                    except NotDelivered as error:
                        self._report(str(error))
                    else:
                        self._report(None)
                await asyncio.sleep(self._settings.interval.total_seconds())

    async def _ask(self, gateway: asyncio.AbstractEventLoop) -> dict[str, str]:
        try:
            asked = asyncio.wrap_future(asyncio.run_coroutine_threadsafe(self._faults(), gateway))
            return await asyncio.wait_for(asked, READY_SECONDS)
        except TimeoutError:
            return {"gateway": f"did not answer within {READY_SECONDS:g} s"}
        except Exception:
            log.exception("readiness not known")
            return {"gateway": "could not find out whether it is ready"}

    def _report(self, failure: str | None) -> None:
        if failure is not None and self._failure is None:
            log.warning("heartbeat not sent, retried: %s", failure)
        elif failure is None and self._failure is not None:
            log.info("heartbeat is sent again")
        self._failure = failure
