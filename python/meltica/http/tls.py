"""TLS of a server: the certificate, its reload, and the limits of handshakes.

1. The files are checked every RELOAD_SECONDS. A changed pair is loaded as a whole and serves the connections
   that are accepted afterwards; open connections stay. A pair that cannot be loaded, such as a key that was
   replaced before its certificate, or that is not valid at this time, is reported once, and the last good one
   remains. A server starts with a certificate that has expired, because its orders matter more.
2. A handshake has HANDSHAKE_SECONDS. At most MAX_HANDSHAKES are in progress; beyond them, the oldest is
   closed. A connection counts as one of the server's only after its handshake.
"""

import asyncio
import logging
import os
import ssl
import stat
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, NamedTuple

from meltica.errors import ConfigError, one_line
from meltica.runtime.fork import close_in_children
from meltica.runtime.threads import call

RELOAD_SECONDS: Final = 5.0
HANDSHAKE_SECONDS: Final = 10.0
SHUTDOWN_SECONDS: Final = 2.0
"""How long a connection waits for its client to confirm the end of TLS."""
MAX_HANDSHAKES: Final = 128

_State = tuple[tuple[int, int, int], ...]
log = logging.getLogger(__name__)


class CertificateError(ConfigError):
    """A certificate cannot be used."""

    def __init__(self, files: object, cause: object) -> None:
        super().__init__("apiServer.tls", [f"{files}: {cause}; expected a certificate in PEM and its key"])
        self.cause = str(cause)
        """Why, without the files: clients of REST may get it."""


class _Loaded(NamedTuple):
    context: ssl.SSLContext
    begins: datetime
    ends: datetime

    def fault(self) -> str | None:
        """Returns why the certificate is not valid at this time."""
        now = datetime.now(UTC)
        if now >= self.ends:
            return f"the certificate has expired at {self.ends:%Y-%m-%d %H:%M} UTC"
        if now < self.begins:
            return f"the certificate is valid from {self.begins:%Y-%m-%d %H:%M} UTC on"
        return None


class Certificate:
    """A certificate chain and its key, from two files."""

    def __init__(self, chain: Path, key: Path) -> None:
        self._chain = chain
        self._key = key
        self._state: _State = self._read_state()
        self._current = self._load()
        self._refused: str | None = None
        # This context keeps its first certificate; each handshake takes the current one.
        self.context = self._load().context
        self.context.sni_callback = self._choose

    def fault(self) -> str | None:
        """Returns why clients refuse the certificate, or why the files are not the one that is served."""
        refused = None if self._refused is None else f"the last one remains: {self._refused}"
        return self._current.fault() or refused

    def reload(self) -> bool:
        """Loads the files if they have changed; returns whether it did. Raises ConfigError."""
        state = self._read_state()
        if state == self._state:
            self._refused = None
            return False
        loaded = self._load()
        if (fault := loaded.fault()) is not None:
            raise CertificateError(self._chain, fault)
        if self._read_state() != state:
            raise CertificateError(self._chain, "it is being written")
        self._current, self._state, self._refused = loaded, state, None
        return True

    async def keep_current(self) -> None:
        """Reloads the files when they change, until it is cancelled."""
        if (fault := self.fault()) is not None:
            log.error("clients refuse the certificate %s: %s", self._chain, fault)
        reported = ""
        while True:
            await asyncio.sleep(RELOAD_SECONDS)
            try:
                if await call(self.reload, "meltica-certificate"):
                    log.info("reloaded the certificate %s", self._chain)
                reported = ""
            except Exception as error:
                text = str(error) if isinstance(error, ConfigError) else one_line(error)
                if text != reported:
                    log.error("certificate not reloaded, the last one remains: %s", text)
                reported = text
                self._refused = error.cause if isinstance(error, CertificateError) else text

    def _choose(self, connection: ssl.SSLObject, name: str | None, context: ssl.SSLContext) -> None:  # noqa: ARG002
        connection.context = self._current.context

    def _read_state(self) -> _State:
        found = list[os.stat_result]()
        for path in (self._chain, self._key):
            try:
                found.append(path.stat())
            except OSError as error:
                raise CertificateError(path, error.strerror) from error
            if not stat.S_ISREG(found[-1].st_mode):
                raise CertificateError(path, "it is not a file")  # a pipe would never end
        return tuple((status.st_mtime_ns, status.st_ino, status.st_size) for status in found)

    def _load(self) -> _Loaded:
        from cryptography.x509 import load_pem_x509_certificate

        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.options |= ssl.OP_NO_RENEGOTIATION
        context.set_alpn_protocols(["http/1.1"])
        try:
            # An encrypted key would otherwise be asked for on the terminal.
            context.load_cert_chain(self._chain, self._key, password="")
            first = load_pem_x509_certificate(self._chain.read_bytes())
        except (OSError, ValueError) as error:
            cause = getattr(error, "reason", None) or getattr(error, "strerror", None) or error
            raise CertificateError(f"{self._chain} and {self._key}", cause) from error
        return _Loaded(context, first.not_valid_before_utc, first.not_valid_after_utc)


class TlsConnections:
    """Creates the protocol of each accepted connection: a handshake, then the protocol of `create`."""

    def __init__(self, context: ssl.SSLContext, create: Callable[..., asyncio.Protocol]) -> None:
        self.context = context
        self._create = create
        self._handshakes: dict[Handshake, None] = {}

    def __call__(self, **arguments: Any) -> "Handshake":
        """Returns the protocol of a new connection, with uvicorn's arguments."""
        return Handshake(self, self._create(**arguments))

    def begin(self, handshake: "Handshake") -> None:
        """Admits a handshake (rule 2)."""
        self._handshakes[handshake] = None
        if len(self._handshakes) > MAX_HANDSHAKES:
            next(iter(self._handshakes)).abort()

    def end(self, handshake: "Handshake") -> None:
        """Forgets a handshake."""
        self._handshakes.pop(handshake, None)

    def close(self) -> None:
        """Ends all handshakes in progress."""
        for handshake in list(self._handshakes):
            handshake.abort()


class Handshake(asyncio.Protocol):
    """A connection until its TLS is established; then `inner` takes it over."""

    def __init__(self, connections: TlsConnections, inner: asyncio.Protocol) -> None:
        self._connections = connections
        self._inner = inner
        self._transport: asyncio.Transport | None = None
        self._task: asyncio.Task[None] | None = None
        self._early = bytearray()
        """What the client sent after its handshake, before `inner` had the connection."""
        self._lost = False
        self._established = False

    def fileno(self) -> int:
        """Returns the descriptor of the connection."""
        assert self._transport is not None
        return int(self._transport.get_extra_info("socket").fileno())

    def abort(self) -> None:
        """Closes the connection."""
        assert self._transport is not None
        self._connections.end(self)
        self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Starts the handshake."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        close_in_children(self)
        self._connections.begin(self)
        self._task = asyncio.get_running_loop().create_task(self._secure(), name="meltica-handshake")

    def data_received(self, data: bytes) -> None:
        """Keeps decrypted data for `inner`."""
        self._early += data

    def connection_lost(self, exc: Exception | None) -> None:
        """Notes the end of the connection, or passes on one that was reported late."""
        self._lost = True
        if self._established:
            self._inner.connection_lost(exc)

    async def _secure(self) -> None:
        assert self._transport is not None
        try:
            secured = await asyncio.get_running_loop().start_tls(
                self._transport,
                self,
                self._connections.context,
                server_side=True,
                ssl_handshake_timeout=HANDSHAKE_SECONDS,
                ssl_shutdown_timeout=SHUTDOWN_SECONDS,
            )
        except OSError as error:
            log.debug("TLS handshake failed: %s", error)
            self._transport.abort()
            return
        finally:
            self._connections.end(self)
        if secured is None or self._lost:
            return
        secured.set_protocol(self._inner)
        self._established = True
        self._inner.connection_made(secured)
        if self._early:
            self._inner.data_received(bytes(self._early))
