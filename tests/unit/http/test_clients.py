"""Hosts, origins and proxies: the rules alone."""

from ipaddress import ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from meltica.http.clients import ClientRules
from meltica.http.spec import ApiServerSettings

RULES = ClientRules(proxies=(ip_network("10.0.0.0/8"), ip_network("fd00::/8"), ip_network("127.0.0.1")))
HOSTILE = st.ip_addresses().map(str) | st.text(max_size=20) | st.just("10.0.0.9")


def address(peer: str, *values: str) -> str:
    headers = {b"x-forwarded-for": [value.encode("latin-1") for value in values]} if values else {}
    return RULES.client_address(peer, headers)


@pytest.mark.parametrize(
    ("peer", "values", "expected"),
    [
        ("192.0.2.1", ("198.51.100.1",), "192.0.2.1"),
        ("unknown", ("198.51.100.1",), "unknown"),
        ("127.0.0.1", (), "127.0.0.1"),
        ("127.0.0.1", ("198.51.100.1",), "198.51.100.1"),
        ("::ffff:127.0.0.1", ("198.51.100.1",), "198.51.100.1"),
        ("fd00::1", ("2001:db8::1",), "2001:db8::1"),
        ("127.0.0.1", ("203.0.113.9, 198.51.100.1 ,10.1.1.1",), "198.51.100.1"),
        ("127.0.0.1", ("203.0.113.9", "198.51.100.1"), "198.51.100.1"),
        ("127.0.0.1", ("10.1.1.2, 10.1.1.1",), "10.1.1.2"),
        ("127.0.0.1", ("203.0.113.9, unknown, 10.1.1.1",), "10.1.1.1"),
        ("127.0.0.1", ("203.0.113.9, ",), "127.0.0.1"),
    ],
)
def test_the_address_of_a_client(peer: str, values: tuple[str, ...], expected: str) -> None:
    assert address(peer, *values) == expected


@given(claimed=st.lists(HOSTILE.filter(lambda text: text.isascii()), max_size=4), client=st.ip_addresses(v=4))
def test_a_client_cannot_choose_its_address_behind_a_proxy(claimed: list[str], client: object) -> None:
    if str(client).startswith(("10.", "127.")):
        return
    assert address("127.0.0.1", ", ".join([*claimed, str(client)])) == str(client)
    assert address("127.0.0.1", *claimed, str(client)) == str(client)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("https://Console.Example", "https://console.example"),
        ("https://console.example:443", "https://console.example"),
        ("http://localhost:3000", "http://localhost:3000"),
        ("http://[::1]:80", "http://[::1]"),
        ("https://console.example:80", "https://console.example:80"),
    ],
)
def test_origins_are_those_that_browsers_send(given: str, expected: str) -> None:
    api = ApiServerSettings.model_validate({"cors": {"origins": given}})
    assert api.client_rules.origins == {expected.encode()}


@pytest.mark.parametrize(
    ("key", "value"),
    [
        *(("cors", {"origins": [text]}) for text in ("*", "null", "", "console.example", "ftp://x")),
        *(
            ("cors", {"origins": [text]})
            for text in ("https://x/", "https://x/y", "https://x?y", "https://x#y")
        ),
        *(
            ("cors", {"origins": [text]})
            for text in ("https://a@x", "https://", "https://x:y", "https://*.x")
        ),
        *(("hosts", [text]) for text in ("*", "x:80", "https://x", "a b", "", "x/", "*.example", "x.")),
        *(("trustedProxies", [text]) for text in ("x", "10.0.0.1/8", "0.0.0.0/0", "::/0", "*", "")),
    ],
)
def test_values_that_are_refused(key: str, value: object) -> None:
    with pytest.raises(ValidationError, match="expected"):
        ApiServerSettings.model_validate({key: value})


def test_lists_are_words_too() -> None:
    given = {"hosts": "Gateway.Example, [2001:DB8::1]", "trustedProxies": "10.0.0.1,10.1.0.0/16"}
    rules = ApiServerSettings.model_validate(given).client_rules
    assert rules.hosts == {"127.0.0.1", "gateway.example", "2001:db8::1"}
    assert [str(each) for each in rules.proxies] == ["10.0.0.1/32", "10.1.0.0/16"]
