"""How requests to a venue are signed, checked and counted."""

from dataclasses import replace

import pytest

from meltica.errors import RateLimited
from meltica.http.errors import HttpError
from meltica.venue.auth import WINDOW_MS, Credentials, Keys, Signed, SkewedClock, sign
from meltica.venue.limits import RateLimit

NOW = 1_700_000_000_000
PATH = "/v1/orders?a=b"
BODY = b'{"clientOrderId":"a"}'


@pytest.fixture(name="keys")
def _keys() -> Keys:
    return Keys({"k1": Credentials("main", "s1"), "k2": Credentials("other", "s2")}, SkewedClock(lambda: NOW))


def signed(time: str = str(NOW), secret: str = "s1", key: str | None = "k1") -> Signed:
    return Signed(key, time, sign(secret, time, "POST", PATH, BODY), "POST", PATH, BODY)


def test_a_signature_matches_the_docs() -> None:
    # By `printf '%s' ... | openssl dgst -sha256 -hmac main-secret`.
    text = sign("main-secret", "1700000000000", "GET", "/v1/balances")
    assert text == "cdcabb78bb2c1246799291eaa351b01d573bdf7dec59f98ec2e1fd76cae4d3f1"


def test_a_key_selects_its_account(keys: Keys) -> None:
    assert keys.account(signed()) == "main"
    assert keys.account(signed(key="k2", secret="s2")) == "other"
    assert keys.account(replace(signed(), signature=(signed().signature or "").upper())) == "main"
    for off in (-WINDOW_MS, WINDOW_MS):
        assert keys.account(signed(str(NOW + off))) == "main"


@pytest.mark.parametrize(
    ("request_", "code", "words"),
    [
        (signed(key=None), "unknown_key", "saw none"),
        (signed(key="k3"), "unknown_key", "saw 'k3'"),
        (signed(secret="s2"), "bad_signature", "saw another"),
        (replace(signed(), method="GET"), "bad_signature", "saw another"),
        (replace(signed(), path="/v1/orders?a=c"), "bad_signature", "saw another"),
        (replace(signed(), body=b""), "bad_signature", "saw another"),
        (replace(signed(), signature=None), "bad_signature", "saw none"),
        (replace(signed(), signature="ü"), "bad_signature", "saw another"),
        (signed(str(NOW - WINDOW_MS - 1)), "bad_time", f"venue's {NOW}, saw {NOW - WINDOW_MS - 1}"),
        (signed(str(NOW + WINDOW_MS + 1)), "bad_time", f"saw {NOW + WINDOW_MS + 1}"),
        (signed(""), "bad_time", "saw none"),
        (signed("soon"), "bad_time", "saw soon"),
        (signed("²"), "bad_time", "saw ²"),
        (signed("9" * 5000), "bad_time", "saw 99999999999999999999"),
        (signed(f"-{NOW}"), "bad_time", f"saw -{NOW}"),
    ],
)
def test_a_wrong_signature_is_refused_with_its_reason(
    keys: Keys, request_: Signed, code: str, words: str
) -> None:
    with pytest.raises(HttpError) as refused:
        keys.account(request_)
    assert (refused.value.status, refused.value.code) == (401, code)
    assert words in str(refused.value)
    assert "s1" not in str(refused.value)


def test_a_bucket_holds_one_second_of_requests() -> None:
    now = 100.0
    limit = RateLimit(4, lambda: now)
    for _ in range(4):
        limit.spend("a")
    with pytest.raises(RateLimited, match="at most 4 requests a second") as limited:
        limit.spend("a")
    assert limited.value.retry_after == pytest.approx(0.25)
    limit.spend("b")
    now += 0.25
    limit.spend("a")
    with pytest.raises(RateLimited):
        limit.spend("a")
    now += 1000
    for _ in range(4):
        limit.spend("a")
    with pytest.raises(RateLimited):
        limit.spend("a")


def test_a_rate_below_one_admits_one_and_zero_is_unlimited() -> None:
    now = 0.0
    slow, none = RateLimit(0.5, lambda: now), RateLimit(0)
    slow.spend("a")
    with pytest.raises(RateLimited) as limited:
        slow.spend("a")
    assert limited.value.retry_after == pytest.approx(2)
    now += 2
    slow.spend("a")
    for _ in range(1000):
        none.spend("a")
