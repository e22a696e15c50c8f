"""`VenueProtocol`: the methods that the author of an adapter writes, and nothing else.

They hold a venue's addresses, messages and error codes. `LiveAdapter` calls them. `docs/adapters.md` explains
each one, and `adapters/fake/wire.py` is a complete example.
"""

from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from meltica.adapters.base import Adapter
from meltica.adapters.live.rest import ErrorBody, ErrorTable, Request
from meltica.adapters.live.session import Ack, Timing

if TYPE_CHECKING:
    from meltica.adapters.live.account import LiveAccount
    from meltica.runtime.loop_thread import LoopThread

VenueMessage = Mapping[str, Any]
"""A message of the venue, parsed from JSON, with decimals as Decimal."""


class VenueProtocol(Adapter):
    """What is specific to one venue. All methods run on the adapter's event loop and must not block it.

    A default suits a venue that does not have the feature.
    """

    errors: ClassVar[ErrorTable] = {}
    """The venue's error codes -> exceptions. `WrongClock` is for codes of a wrong timestamp."""
    category: str | None = None
    """Category of the market connection, where the codec has several; its first one by default."""
    account_channels: ClassVar[tuple[str, ...]] = ()
    """Channels of the account's connection; none where a login is enough."""
    requires_login: ClassVar[bool] = True
    """Whether the account's connection sends a login."""
    rate: ClassVar[float] = 10.0
    """REST requests a second that the venue allows; 0 switches the limit off."""
    burst: ClassVar[float | None] = None
    """Most requests at once; by default, those of one second."""
    timing: ClassVar[Timing] = Timing()
    """Time-outs and pauses of the connections."""
    request_timeout: ClassVar[float] = 10.0
    """Time-out of a REST request, in seconds."""
    route_timeout: ClassVar[float] = 15.0
    """Time-out for the venue to confirm subscriptions, in seconds."""

    @abstractmethod
    def rest_endpoint(self) -> str:
        """Returns the address of the REST API: scheme, host and port."""

    @abstractmethod
    async def market_url(self) -> str:
        """Returns the URL of the market data websocket."""

    async def account_url(self) -> str:
        """Returns the URL of the account's websocket; may request a session key first."""
        return await self.market_url()

    @abstractmethod
    def channels(self, kind: str, symbol: str) -> Iterable[str]:
        """Returns the channels that carry a kind of event for a symbol; empty if the venue has none."""

    @abstractmethod
    def subscribe(self, id: int, channels: tuple[str, ...]) -> object:
        """Returns the message that subscribes to channels."""

    @abstractmethod
    def unsubscribe(self, id: int, channels: tuple[str, ...]) -> object:
        """Returns the message that unsubscribes from channels."""

    def login(self, id: int, time: int) -> object:
        """Returns the login message; `time` is the venue's, in milliseconds."""
        raise NotImplementedError

    def ping(self, id: int) -> object | None:  # noqa: ARG002
        """Returns the ping message; None to send a websocket ping."""
        return None

    @abstractmethod
    def parse_ack(self, message: VenueMessage) -> Ack | None:
        """Returns the acknowledgement in a message; None if the message is something else."""

    def market_message(self, message: VenueMessage) -> None:
        """Publishes market data that the codec does not declare; ignores every other message."""

    def account_message(self, message: VenueMessage) -> None:
        """Passes an order or a balance of the account's connection to the account."""
        raise NotImplementedError

    def sign(self, request: Request, time: int) -> Request:
        """Returns the signed request; `time` is the venue's, in milliseconds."""
        raise NotImplementedError

    @abstractmethod
    def parse_error(self, body: object) -> ErrorBody | None:
        """Returns code and message of an error response; None if the body is not in the venue's format."""

    @abstractmethod
    async def fetch_time(self) -> int:
        """Returns the venue's time, in milliseconds."""

    @abstractmethod
    async def fetch_instruments(self) -> Sequence[Mapping[str, object]]:
        """Returns the listed instruments, each in the form of `InstrumentUpdate.instrument`."""

    def venue_symbols(self) -> Mapping[str, str]:
        """Returns the venue's texts of listed symbols that no rule of the codec converts -> their symbols."""
        return {}

    async def fetch_snapshot(self, symbol: str) -> bytes | None:  # noqa: ARG002
        """Returns a snapshot of a book as a frame of the codec; None if each subscription starts with one."""
        return None

    def make_account(self, loop: "LoopThread") -> "LiveAccount | None":  # noqa: ARG002
        """Returns the account of the key in the settings; None without a key."""
        return None
