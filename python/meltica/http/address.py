"""Binds the address of a server; imports no web server, so that a start can take the address first."""

import errno
import socket
from ipaddress import ip_address

from meltica.errors import AddressInUse
from meltica.http.listener import Listener
from meltica.http.port_holder import port_holder
from meltica.runtime.fork import close_in_children

OF_GATEWAY = "apiServer.addr or MELTICA_APISERVER__ADDR"
"""The setting and the variable that choose the control plane's address."""


def bind(host: str, port: int, chosen_by: str = OF_GATEWAY) -> Listener:
    """Returns a socket bound to an address; port 0 takes a free one. Raises AddressInUse.

    A forked child does not keep the socket.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        bound = Listener(family, kind, protocol)
    except OSError as error:
        raise AddressInUse(f"cannot listen on {host}:{port}: {error.strerror or error}") from error
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
        bound.listen(128)
    except OSError as error:
        bound.close()
        holder = port_holder(host, port) if error.errno == errno.EADDRINUSE else None
        by = f" by {holder}" if holder else ""
        raise AddressInUse(
            f"cannot listen on {host}:{port}: {error.strerror}{by}; choose another with {chosen_by}"
        ) from error
    close_in_children(bound)
    bound.setblocking(False)
    return bound


def is_loopback(host: str) -> bool:
    """Returns whether a host without brackets or port is `localhost` or a loopback address."""
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False
