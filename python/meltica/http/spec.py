"""The settings of an HTTP server."""

import re
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Annotated, Final, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, ValidationInfo, field_validator

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


def _is_unspecified(host: str) -> bool:
    return _is_address(host) and ip_address(host).is_unspecified


Hosts = Annotated[tuple[Annotated[str, AfterValidator(_host)], ...], BeforeValidator(words)]
Origins = Annotated[tuple[Annotated[str, AfterValidator(_origin)], ...], BeforeValidator(words)]
Networks = Annotated[tuple[Annotated[str, AfterValidator(_network)], ...], BeforeValidator(words)]


class CorsSettings(Section):
    """Web pages that may use the control plane."""

    origins: Origins = ()
    """Origins such as https://console.example, whose pages may read and change what their token permits."""


class TlsSettings(Section):
    """The certificate of the control plane."""

    certificate: Path | None = None
    """File with the certificate and those that lead to its authority, in PEM; read again when it changes."""
    key: Path | None = Field(default=None, validate_default=True)
    """File with the key of the certificate, in PEM, not encrypted."""

    @field_validator("key")
    @classmethod
    def _together(cls, value: Path | None, info: ValidationInfo) -> Path | None:
        if (value is None) is not (info.data.get("certificate") is None):
            raise fault("expected `certificate` and `key` together")
        return value


class ApiServerSettings(Section):
    """The control plane's address, and its clients."""

    auth: Literal["token", "none"] = "token"
    """Whether requests need a token; without, every local process has full access."""
    token_folder: Path | None = None
    """Folder of the first token and of the address; by default in the home of the embedded database."""
    hosts: Hosts = ()
    """Names by which clients reach the control plane, besides loopback names and the address."""
    cors: CorsSettings = CorsSettings()
    trusted_proxies: Networks = ()
    """Addresses of proxies whose `X-Forwarded-For` has the address of the client."""
    tls: TlsSettings = TlsSettings()
    addr: str = "127.0.0.1:8880"
    """Host and port; port 0 takes a free one."""

    # After the fields that an address depends on.
    @field_validator("addr")
    @classmethod
    def _reachable(cls, value: str, info: ValidationInfo) -> str:
        host, _, port = value.rpartition(":")
        host = host.removeprefix("[").removesuffix("]")
        if not host or not (port.isascii() and port.isdigit() and int(port) < 1 << 16):
            raise fault(f"expected host and port such as 127.0.0.1:8880, saw {value!r}")
        if is_loopback(host):
            return value
        tls = info.data.get("tls")
        if info.data.get("auth") != "token":
            cause = "because `auth` is none, so everyone would be an administrator"
        elif not isinstance(tls, TlsSettings) or tls.certificate is None:
            cause = "because tokens are not encrypted on the way without `tls`"
        elif _is_unspecified(host) and not info.data.get("hosts"):
            raise fault(f"expected `hosts` with the names by which clients reach {value!r}")
        else:
            return value
        raise fault(f"expected a loopback address such as 127.0.0.1:{port}, {cause}, saw {value!r}")

    @property
    def host(self) -> str:
        """The host, without brackets."""
        return self.addr.rpartition(":")[0].removeprefix("[").removesuffix("]")

    @property
    def port(self) -> int:
        """The port."""
        return int(self.addr.rpartition(":")[2])

    def url(self, host: str, port: int) -> str:
        """Returns the URL of a server that listens on an address; of names, the first one."""
        scheme = "http" if self.tls.certificate is None else "https"
        name = self.hosts[0] if self.hosts and not is_loopback(self.host) else host
        return f"{scheme}://{f'[{name}]' if ':' in name else name}:{port}"

    @property
    def client_rules(self) -> ClientRules:
        """Which hosts, origins and proxies the control plane accepts."""
        return ClientRules(
            hosts=frozenset(self.hosts if _is_unspecified(self.host) else {self.host.lower(), *self.hosts}),
            origins=frozenset(origin.encode() for origin in self.cors.origins),
            proxies=tuple(ip_network(each) for each in self.trusted_proxies),
        )
