"""Migrations that databases have applied must not change: a comment counts in their checksum, too."""

import hashlib

from tests.support.paths import ROOT

PUBLISHED = {
    "0001_initial.down.sql": "a9a5acf63d5a6b5e",
    "0001_initial.up.sql": "60b9b4035da9f24c",
    "0002_enabled.down.sql": "2939a6d0415c374a",
    "0002_enabled.up.sql": "d2f3dd6f6764ac87",
    "0003_vocabulary.down.sql": "d5f2996ec4e79ca4",
    "0003_vocabulary.up.sql": "754161d789b007a9",
    "0004_gateway_epoch.down.sql": "5540ae5e4f99a97f",
    "0004_gateway_epoch.up.sql": "c7f8d43187f00b1b",
}


def test_published_migrations_are_unchanged() -> None:
    digests = {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()[:16]
        for path in (ROOT / "python" / "meltica" / "migrations").glob("*.sql")
    }
    assert {name: digests.get(name) for name in PUBLISHED} == PUBLISHED
