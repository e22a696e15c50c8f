"""Which hosts, origins and proxies a server accepts; imports no web server, as the settings need it.

1. `Host` must be a loopback name or one of `hosts`.
2. Pages of `origins` may read responses and send changes, after a preflight request (CORS). Cookies are not
   used, so no response permits credentials.
3. The address of a client is that of its connection. Behind one of `proxies` it is the last address in
   `X-Forwarded-For` that is not a proxy itself: each proxy appends the address that it saw, and what is
   further to the left is what the client claims.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Final

from meltica.http.address import is_loopback

Headers = Mapping[bytes, Sequence[bytes]]
"""Name in lower case -> values."""
Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

PREFLIGHT: Final = (
    (b"access-control-allow-methods", b"GET, POST, PUT, DELETE, OPTIONS"),
    (
        b"access-control-allow-headers",
        b"Authorization, Content-Type, If-Match, Last-Event-ID, X-Meltica-Client, X-Meltica-Request-Id,"
        b" X-Meltica-Sent-At",
    ),
    (b"access-control-max-age", b"600"),
)
_READABLE: Final = (b"access-control-expose-headers", b"ETag, Location, Retry-After, X-Meltica-Request-Id")
_PRIVATE_NETWORK: Final = b"access-control-request-private-network"


@dataclass(frozen=True)
class ClientRules:
    """The rules of one server. Names are in lower case."""

    hosts: frozenset[str] = frozenset()
    origins: frozenset[bytes] = frozenset()
    proxies: tuple[Network, ...] = ()

    def accepts_host(self, name: str) -> bool:
        """Returns whether a `Host` without its port is accepted (rule 1)."""
        return name in self.hosts or is_loopback(name)

    def accepts_origin(self, headers: Headers) -> bool:
        """Returns whether a request is from a page of a configured origin (rule 2)."""
        origins = headers.get(b"origin", ())
        return len(origins) == 1 and origins[0].lower() in self.origins

    def is_preflight(self, method: str, headers: Headers) -> bool:
        """Returns whether a browser asks what a page of a configured origin may send."""
        asks = b"access-control-request-method" in headers
        return method == "OPTIONS" and asks and self.accepts_origin(headers)

    def preflight_headers(self, headers: Headers) -> list[tuple[bytes, bytes]]:
        """Returns the headers of the response to a preflight request, without those of every response."""
        private = ((b"access-control-allow-private-network", b"true"),) if _PRIVATE_NETWORK in headers else ()
        return [*PREFLIGHT, *private]

    def cors_headers(self, headers: Headers) -> list[tuple[bytes, bytes]]:
        """Returns the headers of every response that let a page of a configured origin read it."""
        if not self.origins:
            return []
        vary = (b"vary", b"Origin")
        if not self.accepts_origin(headers):
            return [vary]
        return [vary, (b"access-control-allow-origin", headers[b"origin"][0]), _READABLE]

    def client_address(self, peer: str, headers: Headers) -> str:
        """Returns the address of a client; `peer` is that of its connection (rule 3)."""
        seen = _parse(peer)
        if seen is None or not self._is_proxy(seen):
            return peer
        forwarded = b",".join(headers.get(b"x-forwarded-for", ())).decode("latin-1").split(",")
        for text in reversed(forwarded):
            address = _parse(text.strip())
            if address is None:
                break
            seen = address
            if not self._is_proxy(seen):
                break
        return str(seen)

    def _is_proxy(self, address: Address) -> bool:
        return any(address in network for network in self.proxies)


def _parse(text: str) -> Address | None:
    """Returns an address; one of IPv4 that is mapped to IPv6 as IPv4."""
    try:
        address = ip_address(text)
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address
