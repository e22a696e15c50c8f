"""TLS: handshakes and their limits, reload of the certificate, and a gateway behind it."""

import asyncio
import logging
import os
import socket
import ssl
from collections.abc import Generator
from pathlib import Path
from ssl import MemoryBIO, SSLObject, TLSVersion

import httpx
import pytest
from click.testing import CliRunner
from cryptography.x509 import load_der_x509_certificate

from meltica import doctor
from meltica.cli import cli
from meltica.errors import ConfigError
from meltica.http import tls
from meltica.http.tls import Certificate
from meltica.persistence.postgres.embedded import EmbeddedPostgres
from meltica.persistence.postgres.server import wait_until
from tests.integration.test_http_limits import REQUEST, Server, read
from tests.support import gateway
from tests.support.certificates import Pair


@pytest.fixture(name="pair")
def _pair(tmp_path: Path) -> Pair:
    pair = Pair(tmp_path)
    pair.write()
    return pair


@pytest.fixture(name="server")
def _server(pair: Pair) -> Generator[Server]:
    server = Server(Certificate(pair.chain, pair.key), pair.trusted())
    yield server
    server.close()


def plain(server: Server) -> socket.socket:
    return socket.create_connection(server.http.address, timeout=20)


def served(connection: socket.socket) -> bool:
    """Sends a request; returns whether the whole response arrived."""
    connection.sendall(REQUEST + b"\r\n")
    response = b""
    while not response.endswith(b"\r\n\r\n2\r\nxx\r\n0\r\n\r\n"):
        part = connection.recv(1 << 16)
        if not part:
            return False
        response += part
    return response.startswith(b"HTTP/1.1 200 OK")


def serial(server: Server, name: str | None = "localhost") -> int:
    """Returns the serial number of the certificate that a new connection gets."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with plain(server) as connection, context.wrap_socket(connection, server_hostname=name) as encrypted:
        found = encrypted.getpeercert(binary_form=True)
        assert found is not None
        return load_der_x509_certificate(found).serial_number


@pytest.mark.parametrize("version", [TLSVersion.TLSv1_2, TLSVersion.TLSv1_3])
def test_requests_are_encrypted(server: Server, pair: Pair, version: TLSVersion) -> None:
    context = pair.trusted()
    context.minimum_version = context.maximum_version = version
    with httpx.Client(verify=context, trust_env=False) as client:
        for name in ("127.0.0.1", "localhost"):
            answer = client.get(f"https://{name}:{server.http.address[1]}/x")
            assert (answer.status_code, answer.content) == (200, b"xx")


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion")
def test_an_old_version_is_refused(server: Server, pair: Pair) -> None:
    context = pair.trusted()
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.minimum_version = context.maximum_version = TLSVersion.TLSv1_1
    with plain(server) as connection, pytest.raises((ssl.SSLError, ConnectionError)):
        context.wrap_socket(connection, server_hostname="localhost")
    assert Certificate(pair.chain, pair.key).context.minimum_version is TLSVersion.TLSv1_2


def test_a_request_that_arrives_with_the_end_of_the_handshake(server: Server, pair: Pair) -> None:
    incoming, outgoing = MemoryBIO(), MemoryBIO()
    client: SSLObject = pair.trusted().wrap_bio(incoming, outgoing, server_hostname="localhost")
    with plain(server) as connection:
        while True:
            try:
                client.do_handshake()
                break
            except ssl.SSLWantReadError:
                connection.sendall(outgoing.read())
                incoming.write(connection.recv(1 << 16))
        client.write(REQUEST + b"\r\n")
        connection.sendall(outgoing.read())
        while True:
            incoming.write(connection.recv(1 << 16))
            try:
                assert client.read(1 << 16).startswith(b"HTTP/1.1 200 OK")
                break
            except ssl.SSLWantReadError:  # a session ticket
                continue


@pytest.mark.parametrize("sent", [b"", b"\x16\x03\x01", REQUEST + b"\r\n", b"\x00" * 4096])
def test_what_is_no_handshake_ends_the_connection(
    server: Server, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, sent: bytes
) -> None:
    monkeypatch.setattr(tls, "HANDSHAKE_SECONDS", 0.2)
    with plain(server) as connection:
        connection.sendall(sent)
        assert b"HTTP" not in read(connection)
    monkeypatch.undo()
    with server.connect() as connection:
        assert served(connection)
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


def test_more_handshakes_than_the_limit_end_the_oldest(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tls, "MAX_HANDSHAKES", 2)
    with plain(server) as first, plain(server) as second, plain(server) as third:
        assert read(first) == b""
        with server.connect() as connection:
            assert served(connection)
        third.setblocking(False)
        with pytest.raises(BlockingIOError):
            third.recv(1)
        del second


def test_a_stop_does_not_wait_for_handshakes(server: Server) -> None:
    with plain(server) as connection, server.connect() as other:
        assert served(other)
        asyncio.run_coroutine_threadsafe(server.http.stop(), server.loop).result(20)
        assert read(connection) == b""


def test_a_changed_certificate_serves_new_connections(
    server: Server, pair: Pair, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(tls, "RELOAD_SECONDS", 0.01)
    restarted = Server(Certificate(pair.chain, pair.key), pair.trusted())
    try:
        first = serial(restarted)
        with restarted.connect() as open_before:
            assert served(open_before)
            caplog.clear()
            # The key arrives before its certificate: the last good pair remains.
            pair.write(only_key=True)
            assert wait_until(lambda: "certificate not reloaded" in caplog.text, 10)
            assert serial(restarted) == first
            second = pair.write()
            assert wait_until(lambda: serial(restarted) == second, 10)
            assert serial(restarted, None) == second
            pair.chain.unlink()
            assert wait_until(lambda: "No such file or directory" in caplog.text, 10)
            assert serial(restarted) == second
            third = pair.write()
            assert wait_until(lambda: serial(restarted) == third, 10)
            assert served(open_before)
    finally:
        restarted.close()


@pytest.mark.parametrize("damage", ["empty", "binary", "expired", "later", "folder", "pipe", "encrypted"])
def test_a_damaged_pair_leaves_the_last_one_and_is_a_fault(
    damage: str, pair: Pair, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(tls, "RELOAD_SECONDS", 0.01)
    certificate = Certificate(pair.chain, pair.key)
    server = Server(certificate, pair.trusted())
    try:
        first = serial(server)
        assert certificate.fault() is None
        caplog.clear()
        pair.chain.unlink()
        match damage:
            case "empty":
                pair.chain.touch()
            case "binary":
                pair.chain.write_bytes(b"\xff" * 500)
            case "expired":
                pair.write(days=-2)
            case "later":
                pair.write(days=2)
            case "folder":
                pair.chain.mkdir()
            case "pipe":
                os.mkfifo(pair.chain)
            case _:
                pair.write(password=b"hunter2")
        assert wait_until(lambda: certificate.fault() is not None, 10)
        assert wait_until(
            lambda: caplog.text.count("certificate not reloaded, the last one remains") == 1, 10
        )
        fault = certificate.fault()
        assert fault is not None
        assert fault.startswith("the last one remains: ")
        assert str(pair.chain.parent) not in fault
        assert serial(server) == first
        pair.chain.rmdir() if damage == "folder" else pair.chain.unlink()
        second = pair.write()
        assert wait_until(lambda: serial(server) == second, 10)
        assert certificate.fault() is None
    finally:
        server.close()


def test_a_server_starts_with_an_expired_certificate_and_names_it(pair: Pair) -> None:
    pair.write(days=-2)
    fault = Certificate(pair.chain, pair.key).fault()
    assert fault is not None
    assert fault.startswith("the certificate has expired at ")


@pytest.mark.parametrize("broken", ["chain", "key", "both", "absent", "encrypted"])
def test_a_pair_that_cannot_be_used_is_a_fault_of_the_configuration(pair: Pair, broken: str) -> None:
    if broken in ("chain", "both"):
        pair.chain.write_text("no certificate")
    if broken in ("key", "both"):
        pair.key.write_text("no key")
    if broken == "absent":
        pair.key.unlink()
    if broken == "encrypted":
        pair.write(password=b"hunter2")
    with pytest.raises(ConfigError, match="expected a certificate in PEM and its key"):
        Certificate(pair.chain, pair.key)


def test_a_gateway_with_a_certificate(
    config: Path, cluster: EmbeddedPostgres, pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tls, "RELOAD_SECONDS", 0.01)
    files = {"certificate": str(pair.chain), "key": str(pair.key)}
    api = {"tls": files, "hosts": ["gateway.example"]}
    with gateway.database(cluster) as dsn, gateway.running(config, dsn, apiServer=api) as running:
        assert running.url.startswith("https://127.0.0.1:")
        assert running.client.get("/providers").status_code == 200
        own = {"origin": running.url, "sec-fetch-site": "same-origin"}
        assert running.client.post("/providers/spare/stop", headers=own).status_code == 409
        host, port = running.gateway.api.address
        assert "is used by a Meltica gateway" in doctor.address(host, port, encrypted=True).seen

        folder = str(running.gateway.access.folder.path)
        command = ["api", "GET", "/version", "--token-folder", folder]
        refused = CliRunner().invoke(cli, command, standalone_mode=False)
        assert "certificate verify failed" in str(refused.exception)
        monkeypatch.setenv("MELTICA_CA_FILE", str(pair.chain))
        answer = CliRunner().invoke(cli, command, standalone_mode=False)
        assert (answer.exception, answer.return_value) == (None, 0), answer.output
        monkeypatch.setenv("MELTICA_CA_FILE", str(pair.key))
        refused = CliRunner().invoke(cli, command, standalone_mode=False)
        assert f"certificates of {pair.key} not read" in str(refused.exception)

        pair.write(days=-2)
        assert wait_until(lambda: "certificate" in running.client.get("/health/ready").text, 10)
        faults = running.client.get("/health/ready").json()["faults"]
        assert faults["certificate"].startswith("the last one remains: the certificate has expired at ")
