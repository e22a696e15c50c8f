"""The settings of an HTTP server."""

import re
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Annotated, Final, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, field_validator

from meltica.http.address import is_loopback
from meltica.http.clients import ClientRules
from meltica.validation.models import fault
from meltica.validation.section import Section, words

_HOST = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*")
_PORTS: Final = {"http": 80, "https": 443}


def _host(value: str) -> str:
    """Validates a name or an address without a port, and returns it in lower case."""
    host = value.strip().lower().removeprefix("[").removesuffix("]")
    if _HOST.fullmatch(host) is None and not _is_address(host):
        raise fault(f"expected a name or an address without a port, such as gateway.example, saw {value!r}")
    return host


def _origin(value: str) -> str:
    """Validates an origin, and returns it as browsers send it."""
    try:
        parts = urlsplit(value.strip().lower())
        host, port = parts.hostname or "", parts.port
        whole = parts.scheme in _PORTS and parts.geturl() == f"{parts.scheme}://{parts.netloc}"
        if not whole or "@" in parts.netloc or (_HOST.fullmatch(host) is None and not _is_address(host)):
            raise ValueError
    except ValueError:
        raise fault(f"expected an origin such as https://console.example:3000, saw {value!r}") from None
    name = f"[{host}]" if ":" in host else host
    return f"{parts.scheme}://{name}" + ("" if port in (None, _PORTS[parts.scheme]) else f":{port}")


def _network(value: str) -> str:
    """Validates an address or a network, and returns it as a network."""
    try:
        network = ip_network(value.strip())
    except ValueError:
        raise fault(f"expected an address or a network such as 10.0.0.0/8, saw {value!r}") from None
    if network.prefixlen == 0:
        raise fault(f"expected the addresses of proxies, saw {value!r}, which has those of all clients")
    return str(network)


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


Hosts = Annotated[tuple[Annotated[str, AfterValidator(_host)], ...], BeforeValidator(words)]
Origins = Annotated[tuple[Annotated[str, AfterValidator(_origin)], ...], BeforeValidator(words)]
Networks = Annotated[tuple[Annotated[str, AfterValidator(_network)], ...], BeforeValidator(words)]


class CorsSettings(Section):
    """Web pages that may use the control plane."""

    origins: Origins = ()
    """Origins such as https://console.example, whose pages may read and change what their token permits."""


class ApiServerSettings(Section):
    """The control plane's address, and its clients."""

    addr: str = "127.0.0.1:8880"
    """Host and port; port 0 takes a free one."""
    auth: Literal["token", "none"] = "token"
    """Whether requests need a token; without, every local process has full access."""
    token_folder: Path | None = None
    """Folder of the first token and of the address; by default in the home of the embedded database."""
    hosts: Hosts = ()
    """Names by which clients reach the control plane, besides loopback names and the address."""
    cors: CorsSettings = CorsSettings()
    trusted_proxies: Networks = ()
    """Addresses of proxies whose `X-Forwarded-For` has the address of the client."""

    @field_validator("addr")
    @classmethod
    def _loopback(cls, value: str) -> str:
        host, _, port = value.rpartition(":")
        if not (port.isascii() and port.isdigit() and int(port) < 1 << 16):
            raise fault(f"expected host and port such as 127.0.0.1:8880, saw {value!r}")
        if not is_loopback(host.removeprefix("[").removesuffix("]")):
            raise fault(
                f"expected a loopback address such as 127.0.0.1:{port}, because tokens"
                f" are not encrypted on the way, saw {value!r}"
            )
        return value

    @property
    def host(self) -> str:
        """The host, without brackets."""
        return self.addr.rpartition(":")[0].removeprefix("[").removesuffix("]")

    @property
    def port(self) -> int:
        """The port."""
        return int(self.addr.rpartition(":")[2])

    @property
    def client_rules(self) -> ClientRules:
        """Which hosts, origins and proxies the control plane accepts."""
        return ClientRules(
            hosts=frozenset({self.host.lower(), *self.hosts}),
            origins=frozenset(origin.encode() for origin in self.cors.origins),
            proxies=tuple(ip_network(each) for each in self.trusted_proxies),
        )
