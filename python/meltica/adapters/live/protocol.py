"""`VenueProtocol`: what an adapter's author writes, and no more: where a venue is, how it is asked, what it
answers.

`LiveAdapter` calls these; `docs/adapters.md` goes through them, and `providers/fake/wire.py` is the pattern.
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
"""A message of the venue, out of JSON; numbers with a point are Decimal."""


class VenueProtocol(Adapter):
    """What a venue does its own way. Everything runs on the adapter's loop and may take its time there only
    by `await`. Where there is a default, it suits a venue that does without.
    """

    errors: ClassVar[ErrorTable] = {}
    """The venue's error codes -> what they mean. Those of a wrong time are `WrongClock`."""
    account_channels: ClassVar[tuple[str, ...]] = ()
    """What the account's connection subscribes to; nothing where a login is enough."""
    requires_login: ClassVar[bool] = True
    """Whether the account's connection has to log in."""
    rate: ClassVar[float] = 10.0
    """REST requests a second that the venue allows; 0 is no limit."""
    burst: ClassVar[float | None] = None
    """How many may go at once; those of a second by default."""
    timing: ClassVar[Timing] = Timing()
    """How long connections wait for what."""
    request_timeout: ClassVar[float] = 10.0
    """Seconds a request may take."""
    route_timeout: ClassVar[float] = 15.0
    """Seconds the venue has to confirm what is asked of it."""

    @abstractmethod
    def rest_endpoint(self) -> str:
        """Returns where REST is: scheme, host and port."""

    @abstractmethod
    async def market_url(self) -> str:
        """Returns where the websocket of market data is."""

    async def account_url(self) -> str:
        """Returns where the account's websocket is; may ask for a key of the session first."""
        return await self.market_url()

    @abstractmethod
    def channels(self, kind: str, symbol: str) -> Iterable[str]:
        """Returns the channels that carry a kind of event of one symbol; none where the venue has none."""

    @abstractmethod
    def subscribe(self, id: int, channels: tuple[str, ...]) -> object:
        """Returns the message that asks for channels."""

    @abstractmethod
    def unsubscribe(self, id: int, channels: tuple[str, ...]) -> object:
        """Returns the message that asks for channels no more."""

    def login(self, id: int, time: int) -> object:
        """Returns the message that logs in, at the venue's time in ms."""
        raise NotImplementedError

    def ping(self, id: int) -> object | None:  # noqa: ARG002
        """Returns the message that asks for a sign of life; None where a websocket ping does."""
        return None

    @abstractmethod
    def parse_ack(self, message: VenueMessage) -> Ack | None:
        """Returns the answer that a message is; None when it is none."""

    def market_message(self, message: VenueMessage) -> None:
        """Publishes market data that the codec does not declare; ignores every other message."""

    def account_message(self, message: VenueMessage) -> None:
        """Tells the account what a message of its connection says."""
        raise NotImplementedError

    def sign(self, request: Request, time: int) -> Request:
        """Returns a request with its signature, at the venue's time in ms."""
        raise NotImplementedError

    @abstractmethod
    def parse_error(self, body: object) -> ErrorBody | None:
        """Returns code and text of an error answer; None when the body is none of the venue's."""

    @abstractmethod
    async def fetch_time(self) -> int:
        """Returns the venue's time, ms."""

    @abstractmethod
    async def fetch_instruments(self) -> Sequence[Mapping[str, object]]:
        """Returns what the venue lists, as `InstrumentUpdate.instrument`."""

    async def fetch_snapshot(self, symbol: str) -> bytes | None:  # noqa: ARG002
        """Returns a book as a frame of the codec; None where each subscription begins with one."""
        return None

    def make_account(self, loop: "LoopThread") -> "LiveAccount | None":  # noqa: ARG002
        """Returns the account of the settings' key; None without a key."""
        return None
