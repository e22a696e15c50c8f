"""A short form of `nox -s load`."""

import pytest

from tests.load.__main__ import LAMBDAS, LISTS, main


def test_no_request_fails_and_no_lambda_starves_beside_requests(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--seconds", "2", "--clients", "2"]) == 0, capsys.readouterr().err
    lines = capsys.readouterr().out.splitlines()
    orders = [float(line.split("|")[2]) for line in lines if line.startswith(("| without", "| beside"))]
    assert len(orders) == 2
    assert min(orders) > LAMBDAS / 4
    assert {line.split("`")[1] for line in lines if "`GET " in line} <= {f"GET {path}" for path in LISTS}
