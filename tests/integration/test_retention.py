"""Retention: rows are deleted after the configured time, and the tables are measured."""

import psycopg
import pytest
from prometheus_client.parser import text_string_to_metric_families

from meltica.gateway.retention import Retention
from meltica.persistence.database import Database
from meltica.persistence.lock import GatewayLock
from meltica.persistence.stores.outbox import event
from meltica.persistence.stores.trading.rows import DeadLetterRow
from meltica.persistence.stores.trading.writer import GroupCommitWriter
from meltica.settings.model import RetentionSettings
from meltica.telemetry.registry import Scrape
from tests.support.gateway import Running
from tests.support.trading_rows import order


@pytest.mark.parametrize(
    ("keep", "left"),
    [
        (RetentionSettings(), (3, 0)),
        (RetentionSettings.model_validate({"deadLetters": "1h"}), (1, 0)),
        (RetentionSettings.model_validate({"events": "72h"}), (3, 3)),
    ],
)
async def test_rows_are_kept_as_long_as_configured(
    database_url: str, lock: GatewayLock, keep: RetentionSettings, left: tuple[int, int]
) -> None:
    age = "update meltica.{} set created_at = now() - interval '2 days'"
    async with await Database.open(database_url) as database:
        writer = GroupCommitWriter(database, lock)
        rows = [DeadLetterRow.of("report", "NUL", b"x") for _ in range(2)]
        await writer.commit([*rows, order(), *(event("balance", "p", "balance", {}) for _ in range(3))])
        with psycopg.connect(database_url, autocommit=True) as connection:
            connection.execute(age.format("dead_letters").encode())
            connection.execute(age.format("outbox").encode())
        await writer.commit([DeadLetterRow.of("report", "NUL", b"y")])
        retention = Retention(database, keep)
        await retention.prune()
        await retention.measure()
        with psycopg.connect(database_url) as connection:
            letters = connection.execute("select count(*) from meltica.dead_letters").fetchone()
            events = connection.execute("select count(*) from meltica.outbox").fetchone()
        assert (letters, events) == ((left[0],), (left[1],))
        text, _ = Scrape([retention.metrics()]).render("")
        samples = {
            (sample.name, sample.labels["table"]): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
            if "table" in sample.labels
        }
        assert samples["meltica_db_rows_pruned_total", "dead_letters"] == 3 - left[0]
        assert samples["meltica_db_rows_pruned_total", "outbox"] == 3 - left[1]
        assert samples["meltica_db_table_bytes", "orders"] > 0


def test_a_gateway_measures_its_tables_while_nothing_trades(control: Running) -> None:
    text = control.client.get("/metrics").text
    assert 'meltica_db_rows_pruned_total{table="outbox"} 0.0' in text
    assert 'meltica_db_table_bytes{table="audit"}' in text
