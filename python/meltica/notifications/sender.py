"""Posts a message in bounded time, without reading what the receiver answers beside the status."""

import asyncio
import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Final

from pydantic import SecretStr

from meltica.errors import MelticaError

if TYPE_CHECKING:
    import httpx

SEND_SECONDS: Final = 10.0
"""Longest duration of an attempt, however slowly the receiver answers."""


class NotDelivered(MelticaError):
    """A receiver did not accept a message. The text has neither its URL nor its answer."""


def http_client() -> "httpx.AsyncClient":
    """Returns a client that follows no redirect and reads no proxy from the environment."""
    import httpx

    return httpx.AsyncClient(timeout=SEND_SECONDS, trust_env=False, follow_redirects=False)


async def post(client: "httpx.AsyncClient", url: SecretStr, body: bytes, headers: Mapping[str, str]) -> None:
    """Posts a body. Raises NotDelivered unless the receiver answers with a status of 200 to 299."""
    import httpx

    try:
        async with (
            asyncio.timeout(SEND_SECONDS),
            client.stream("POST", url.get_secret_value(), content=body, headers=dict(headers)) as response,
        ):
            status = response.status_code
    except TimeoutError:
        raise NotDelivered(f"the receiver did not answer within {SEND_SECONDS:g} s") from None
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise NotDelivered(_cause(error)) from None
    if 300 <= status < 400:
        raise NotDelivered(f"the receiver answered HTTP {status}; redirects are not followed")
    if not 200 <= status < 300:
        raise NotDelivered(f"the receiver answered HTTP {status}")


def _cause(error: Exception) -> str:
    """Describes an error by its kind and by that of the system; its own text may contain the URL."""
    kind = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", type(error).__name__).lower()
    system = next(
        (each.strerror for each in _chain(error) if isinstance(each, OSError) and each.strerror), ""
    )
    return f"{kind}: {system}" if system else kind


def _chain(error: BaseException) -> Iterator[BaseException]:
    found: BaseException | None = error
    while found is not None:
        yield found
        found = found.__cause__ or found.__context__
