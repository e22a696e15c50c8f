"""The settings of an HTTP server."""

from pathlib import Path
from typing import Literal

from pydantic import field_validator

from meltica.http.address import is_loopback
from meltica.validation.models import fault
from meltica.validation.section import Section


class ApiServerSettings(Section):
    """The control plane's address."""

    addr: str = "127.0.0.1:8880"
    """Host and port; port 0 takes a free one."""
    auth: Literal["token", "none"] = "token"
    """Whether requests need a token; without, every local process has full access."""
    token_folder: Path | None = None
    """Folder of the first token and of the address; by default in the home of the embedded database."""

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
