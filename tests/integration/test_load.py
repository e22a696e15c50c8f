"""A short form of `nox -s load`."""

import pytest

from tests.load.__main__ import LISTS, main

SLOWER = 20
"""How many times fewer orders may be made beside the requests; a busy machine made 9 times fewer."""


@pytest.mark.timeout(400)
def test_no_request_fails_and_no_lambda_starves_beside_requests(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--seconds", "2", "--clients", "2"]) == 0, capsys.readouterr().err
    lines = capsys.readouterr().out.splitlines()
    alone, beside = (
        float(line.split("|")[2]) for line in lines if line.startswith(("| without", "| beside"))
    )
    assert beside > alone / SLOWER > 0
    assert {line.split("`")[1] for line in lines if "`GET " in line} <= {f"GET {path}" for path in LISTS}
