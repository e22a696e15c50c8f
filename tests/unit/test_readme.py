"""The README and the docs speak of what is there."""

import re
from pathlib import Path

from meltica.lambdas.library import large_trades

ROOT = Path(__file__).parents[2]


def test_the_lambda_of_the_readme_is_the_shipped_one() -> None:
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert blocks == [Path(large_trades.__file__).read_text()]


def test_links_lead_somewhere() -> None:
    for page in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")]:
        for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name}: {target}"
