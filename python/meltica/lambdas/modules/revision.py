"""`Revision`: one exact content of a strategy module, which is loaded without a file."""

from dataclasses import dataclass, field

from meltica.lambdas.base import Lambda
from meltica.lambdas.loader import load_source, pick


@dataclass(frozen=True)
class Revision:
    """One exact content of a module, and how it was selected."""

    name: str
    hash: str
    tag: str | None
    """The tag of the selector; None if the selector has a hash."""
    selector: str
    """In its canonical form, `name:tag` or `name@hash`."""
    source: bytes = field(repr=False)

    def __str__(self) -> str:
        return f"{self.name}@{self.hash}"

    def load(self) -> type[Lambda]:
        """Returns the class, the same one each time. Blocks while the module is executed.

        Raises LambdaLoadError.
        """
        filename = f"{self.name}@{self.hash[:19]}"
        return pick(load_source(self.source, filename), filename, None)
