"""What keys mean that several schemas have in the same sense: their descriptions in the OpenAPI document.

A docstring in a schema comes first.
"""

from typing import Final

from meltica.api import contract

DESCRIPTIONS: Final = {
    "adapter": "The identifier of the adapter.",
    "clientOrderId": "The id of the order at the venue.",
    "config": "The configured values.",
    "count": "How many entries this response has.",
    "createdAt": "When it was created, in milliseconds.",
    "currency": "The currency of the amount.",
    "hash": "The revision, as `sha256:` and 64 hex digits.",
    "id": "The id.",
    "identifier": "The identifier of the adapter.",
    "instance": "The id of the instance.",
    dict(contract.ORDER)["instance"]: "The id of the instance.",
    "limit": "That of the request; absent without one.",
    "mode": "`live` or `paper`.",
    "name": "The name.",
    "offset": "How many entries are left out at the beginning.",
    "path": "The path of the file: `<name>/<tag>/<name>.py`.",
    "provider": "The name of the provider.",
    "scope": "`global`, `provider:NAME` or `instance:ID`.",
    "side": "`Buy` or `Sell`.",
    "state": "The state of the order.",
    "status": "The kind of this object, such as `error`.",
    "strategy": "The name of the module.",
    "symbol": "The symbol, such as `BTC-USDT`.",
    "tag": "The tag.",
    "updatedAt": "When it last changed, in milliseconds.",
    "version": "The `version` of the class; absent without one.",
}
"""Key -> description."""
