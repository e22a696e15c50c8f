"""Frames of recordings, up to the largest one of their codec."""

from pathlib import Path

from meltica.backtest.codec_check import CodecCheck


def test_a_snapshot_of_over_ten_megabytes_is_replayed_with_the_shipped_codec(tmp_path: Path) -> None:
    levels = ",".join(
        f'{{"side":"{side}","event_time":"2026-03-02T10:00:00.123456Z","price_level":"{price}.01",'
        '"new_quantity":"1.25000000"}'
        for side, prices in (("bid", range(60_000, 10_000, -1)), ("offer", range(60_001, 110_001)))
        for price in prices
    )
    event = f'{{"type":"snapshot","product_id":"BTC-USD","updates":[{levels}]}}'
    head = '"channel":"l2_data","client_id":"","timestamp":"2026-03-02T10:00:00.2Z","sequence_num":0'
    frame = f'{{{head},"events":[{event}]}}'
    assert len(frame) > 10_000_000
    (tmp_path / "session.txt").write_text(f"1772445600000000000 {frame}\n")
    report = CodecCheck("coinbase", [tmp_path / "session.txt"]).run()
    assert report["fits"], report
    assert report["books"]["synced"] == ["BTC-USD"]
