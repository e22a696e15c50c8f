"""The types of fields in the schemas of existing clients."""

from typing import Annotated, Any, Literal

from msgspec import Meta, UnsetType

Amount = Annotated[str, Meta(pattern=r"^-?[0-9]+(\.[0-9]+)?$")]
Millis = Annotated[int, Meta(ge=10**12, lt=10**13)]
Stamp = Annotated[str, Meta(pattern=r"^[0-9]{4}(-[0-9]{2}){2}T[0-9]{2}(:[0-9]{2}){2}(\.[0-9]+)?Z$")]
Hash = Annotated[str, Meta(pattern=r"^sha256:[0-9a-f]{64}$")]
Name = Annotated[str, Meta(min_length=1)]
Natural = Annotated[int, Meta(ge=0)]
Number = int | float
Text = Name | UnsetType
Texts = list[Name] | UnsetType
Flag = bool | UnsetType
Object = dict[str, Any]
Event = Literal[
    "BookSnapshot",
    "Trade",
    "Ticker",
    "ExecReport",
    "KlineSummary",
    "InstrumentUpdate",
    "BalanceUpdate",
    "RiskControl",
    "Extension",
]
