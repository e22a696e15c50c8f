"""Queries of reads as existing clients send them: an empty value is that of an absent parameter."""

from litestar.types import ASGIApp, Receive, Scope, Send


class WithoutEmptyValues:
    """Leaves parameters without a value out of a query, such as `limit` in `?limit=&symbol=BTC-USDT`."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one request, or passes any other scope to the application."""
        # A change names its unknown parameters, also without a value.
        if scope["type"] == "http" and scope["method"] == "GET":
            given = scope["query_string"].split(b"&")
            # In place: the gate reads the scope after the request.
            scope["query_string"] = b"&".join(each for each in given if each.partition(b"=")[2])
        await self._app(scope, receive, send)
