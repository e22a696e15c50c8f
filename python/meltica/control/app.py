"""The control plane's application."""

from typing import TYPE_CHECKING

from litestar import Litestar, get

if TYPE_CHECKING:
    from meltica.gateway import Gateway


def create_app(gateway: "Gateway") -> Litestar:
    """Returns the application over one gateway."""

    _ = gateway

    @get("/health/live")
    async def live() -> dict[str, str]:
        return {"status": "live"}

    return Litestar([live], openapi_config=None, logging_config=None)
