"""`fake` in this process keeps the contract."""

from collections.abc import Iterator

import pytest

from meltica.testing import AdapterContract, Stage
from tests.contract.stages import InProcess


class TestInProcess(AdapterContract):
    @pytest.fixture
    def stage(self) -> Iterator[Stage]:
        with InProcess() as stage:
            yield stage
