//! Trades: repeated ones, those of a subscription's snapshot, and ids that restart.

use super::*;
use crate::codec::{Role, SnapshotMode};

/// Returns a feed whose trades `history` are those of a subscription's snapshot, which have `ids` or none.
fn plane(ids: bool) -> Plane {
    let mut plane = Plane::new();
    let mut spec = binance_spec();
    let at = spec.messages.iter().position(|message| message.name == "trade").unwrap();
    let mut history = spec.messages[at].clone();
    (history.name, history.snapshot) = ("history".into(), Some(SnapshotMode::History));
    history.matches = vec![Match::Equals("e".into(), "history".into())];
    spec.messages.push(history);
    if !ids {
        for message in spec.messages.iter_mut().filter(|message| message.role == Role::Event(Kind::Trade)) {
            message.id = None;
            message.fields.retain(|field| field.name != "id");
        }
    }
    plane.feed.decoder = Some(Decoder::new(Codec::compile(spec).unwrap(), plane.feed.publisher.provider()));
    plane
}

/// Feeds a trade of a connection and returns what is delivered: ids, late ones marked, and reasons of notices.
fn trade(plane: &mut Plane, connection: u32, name: &str, id: u64, time: u64) -> Vec<String> {
    let text = format!(r#""t":{id},"#);
    let frame =
        TRADE.replace(r#""e":"trade""#, &format!(r#""e":"{name}""#)).replace(r#""t":3735683259,"#, &text);
    let frame = frame.replace("1723161255342", &format!("{}", 1_723_161_255_342 + time));
    let events = plane.feed.frame_from(Source::Stream, connection, frame.as_bytes(), 0).unwrap().events;
    let text = |item: Item| match &item.payload {
        Payload::Trade(trade) => {
            let id = trade.id.map_or("none".into(), |id| id.to_string());
            if trade.late { format!("{id} late") } else { id }
        }
        Payload::MarketStale(reason) => reason.name().into(),
        other => panic!("{other:?}"),
    };
    plane.read(events).into_iter().map(text).collect()
}

/// Loses a connection, without a look at the notices.
fn lose(plane: &mut Plane, connection: Option<u32>) {
    let events = match connection {
        Some(connection) => plane.feed.restart_connection(connection, 0),
        None => plane.feed.restart(0),
    };
    plane.read(events.unwrap());
}

/// Returns what a snapshot of trades delivers.
fn history(plane: &mut Plane, connection: u32, ids: std::ops::RangeInclusive<u64>) -> Vec<String> {
    ids.rev().flat_map(|id| trade(plane, connection, "history", id, id)).collect()
}

#[test]
fn trades_of_a_snapshot_are_dropped_on_the_first_connection_and_missed_ones_are_late() {
    let mut plane = plane(true);
    assert!(history(&mut plane, 0, 1..=5).is_empty(), "they are older than the subscription");
    assert!(trade(&mut plane, 0, "trade", 5, 5).is_empty(), "it was in the snapshot");
    assert_eq!(trade(&mut plane, 0, "trade", 6, 6), ["6"]);
    assert_eq!(
        history(&mut plane, 0, 4..=7),
        ["7 late"],
        "it was lost, and the connection was subscribed again"
    );
    for connection in [None, Some(0)] {
        lose(&mut plane, connection);
        let last = if connection.is_none() { 9 } else { 11 };
        let expected: Vec<_> = (last - 1..=last).rev().map(|id| format!("{id} late")).collect();
        assert_eq!(history(&mut plane, 0, last - 4..=last), expected);
    }
    assert_eq!(trade(&mut plane, 0, "trade", 12, 12), ["12"]);
    let stats = &plane.feed.stats;
    assert_eq!((stats.history.get(), stats.late.get(), stats.duplicates.get()), (8, 5, 7));
}

#[test]
fn a_second_connection_delivers_what_the_first_one_missed() {
    let mut plane = plane(true);
    assert_eq!(trade(&mut plane, 1, "trade", 1, 1), ["1"]);
    assert_eq!(history(&mut plane, 2, 1..=2), ["2 late"]);
    assert!(trade(&mut plane, 1, "trade", 2, 2).is_empty());
    assert_eq!(history(&mut plane, 1, 0..=3), ["3 late"], "0 is older than the first trade");
    assert!(trade(&mut plane, 2, "trade", 3, 3).is_empty());
}

#[test]
fn a_trade_dropped_in_a_history_is_delivered_by_a_connection_that_was_subscribed_before() {
    let mut plane = plane(true);
    assert!(history(&mut plane, 0, 1..=4).is_empty());
    assert!(history(&mut plane, 1, 1..=3).is_empty());
    assert_eq!(trade(&mut plane, 1, "trade", 4, 4), ["4"]);
    assert!(trade(&mut plane, 0, "trade", 4, 4).is_empty());
    assert_eq!(history(&mut plane, 0, 3..=5), ["5 late"], "the other connection is slower");
    assert!(trade(&mut plane, 1, "trade", 5, 5).is_empty());
    assert_eq!(trade(&mut plane, 0, "trade", 6, 6), ["6"]);
}

#[test]
fn a_symbol_without_trades_before_a_reconnect_misses_none_of_while_it_was_lost() {
    for connection in [None, Some(0)] {
        let mut plane = plane(true);
        plane.feed.forget_ids();
        plane.feed.windows.open(1_723_161_255_342_000_000 + 4_000_000);
        lose(&mut plane, connection);
        assert_eq!(history(&mut plane, 0, 1..=6), ["6 late", "5 late", "4 late"]);
        assert_eq!(trade(&mut plane, 0, "trade", 7, 7), ["7"]);
    }
}

#[test]
fn trades_without_ids_are_delivered_and_those_of_a_snapshot_never() {
    let mut plane = plane(false);
    for _ in 0..2 {
        assert_eq!(trade(&mut plane, 0, "trade", 1, 1), ["none"]);
        assert!(history(&mut plane, 0, 1..=2).is_empty());
        lose(&mut plane, None);
    }
    assert_eq!((plane.feed.stats.history.get(), plane.feed.stats.duplicates.get()), (4, 0));
}

#[test]
fn a_restart_of_the_ids_is_reported_and_counted() {
    let mut plane = plane(true);
    for id in 5000..5010 {
        assert_eq!(trade(&mut plane, 0, "trade", id, id).len(), 1);
    }
    assert_eq!(trade(&mut plane, 0, "trade", 1, 6000), ["1"]);
    assert!(trade(&mut plane, 0, "trade", 5000, 6001).is_empty(), "the id is known");
    assert_eq!(trade(&mut plane, 0, "trade", 3, 6002), ["ids_restarted", "3"]);
    assert_eq!(trade(&mut plane, 0, "trade", 4, 6003), ["4"]);
    assert_eq!(plane.feed.stats.id_restarts.get(), 1);
    assert_eq!(plane.feed.stats.stale[StaleReason::IdsRestarted as usize].get(), 1);
}

#[test]
fn a_restart_of_the_ids_of_tickers_is_only_counted() {
    let mut plane = Plane::new();
    let ticker = |u: u64| format!(r#"{{"u":{u},"s":"BTCUSDT","b":"1","B":"1","a":"2","A":"1"}}"#);
    assert_eq!(plane.run(ticker(100_000).as_bytes()).len(), 1);
    let delivered: usize = (0..70).map(|u| plane.run(ticker(u).as_bytes()).len()).sum();
    assert_eq!((delivered, plane.feed.stats.id_restarts.get()), (7, 1));
}

#[test]
fn a_history_needs_the_id_of_the_new_trades() {
    let mut spec = binance_spec();
    let at = |name: &str| spec.messages.iter().position(|message| message.name == name).unwrap();
    let (trade, other) = (at("trade"), at("aggTrade"));
    let mut history = spec.messages[trade].clone();
    (history.name, history.snapshot) = ("history".into(), Some(SnapshotMode::History));
    history.id = Some(("x".into(), crate::codec::IdMode::Opaque));
    spec.messages.push(history);
    spec.messages[other].snapshot = Some(SnapshotMode::Joins);
    let faults = Codec::compile(spec).unwrap_err().faults;
    let expected =
        ["aggTrade.snapshot: expected history, or none, as", "history.id: expected the same id as"];
    assert!(faults.iter().zip(expected).all(|(fault, text)| fault.starts_with(text)), "{faults:?}");
    assert_eq!(faults.len(), 2);
}
