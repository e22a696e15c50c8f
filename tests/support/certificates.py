"""Certificates for servers in the tests."""

import ssl
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from cryptography.x509.oid import NameOID


class Pair:
    """The files of a certificate that is its own authority, and of its key."""

    def __init__(self, folder: Path) -> None:
        self.chain = folder / "cert.pem"
        self.key = folder / "key.pem"

    def write(self, *, only_key: bool = False, password: bytes | None = None, days: int = 0) -> int:
        """Writes a new pair for `localhost`, 127.0.0.1 and gateway.example; returns its serial number.

        It is valid a day before and after today, or `days` later.
        """
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "a gateway in the tests")])
        names: list[x509.GeneralName] = [x509.DNSName("localhost"), x509.DNSName("gateway.example")]
        serial, now = x509.random_serial_number(), datetime.now(UTC) + timedelta(days=days)
        certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(serial)
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=1))
            .add_extension(
                x509.SubjectAlternativeName([*names, x509.IPAddress(ip_address("127.0.0.1"))]), critical=False
            )
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .sign(key, hashes.SHA256())
        )
        encryption = NoEncryption() if password is None else BestAvailableEncryption(password)
        if not only_key:
            self.chain.write_bytes(certificate.public_bytes(Encoding.PEM))
        self.key.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, encryption))
        return serial

    def trusted(self) -> ssl.SSLContext:
        """Returns the context of a client that trusts the pair."""
        return ssl.create_default_context(cafile=self.chain)
