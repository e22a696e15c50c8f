//! The limit of a scrape: what exceeds it is summed.

use super::{Family, Row, Text, Type};
use std::collections::{BTreeMap, BTreeSet};

/// The value of the labels of the series that have the sum of others.
const OVERFLOW: &str = "overflow";

/// The labels whose values the program defines. A sum keeps them, so a failed lambda still shows as one.
const CLOSED: [&str; 19] = [
    "cause",
    "code",
    "error",
    "event_type",
    "generation",
    "kind",
    "line",
    "method",
    "mode",
    "of",
    "outcome",
    "part",
    "pool",
    "pool_name",
    "reason",
    "rule",
    "scope",
    "state",
    "step",
];

/// Keeps at most `most` series of `families`, the sums included, and returns how many it has summed.
///
/// Histograms have what the other families leave, each family from its first row on. The further rows of a family
/// become one, or one for each combination of the labels that the program defines.
pub fn limit(families: &mut [Family], most: usize) -> usize {
    let before: usize = families.iter().map(Family::series).sum();
    if before <= most {
        return 0;
    }
    let reserved: usize = families.iter().map(series_of_sums).sum();
    let mut left = most.saturating_sub(reserved);
    let mut summed = 0;
    for histograms in [false, true] {
        for family in families.iter_mut().filter(|each| (each.kind == Type::Histogram) == histograms) {
            let width = family.rows.first().map_or(1, |row| row.value.series());
            let keeps = (left + series_of_sums(family)) / width;
            if family.rows.len() <= keeps {
                left = (left + series_of_sums(family)).saturating_sub(family.series());
                continue;
            }
            let rest = family.rows.split_off(left / width);
            left -= family.series();
            summed += rest.len() * width;
            family.rows.extend(sums(&family.labels, rest));
        }
    }
    summed
}

/// Returns the series that the sums of a family may need.
fn series_of_sums(family: &Family) -> usize {
    let Some(width) = family.rows.first().map(|row| row.value.series()) else { return 0 };
    let closed = closed(&family.labels);
    if closed.iter().all(|closed| !closed) {
        return width;
    }
    let keys: BTreeSet<_> = family.rows.iter().map(|row| key(&closed, row)).collect();
    keys.len() * width
}

fn closed(labels: &[Text]) -> Vec<bool> {
    labels.iter().map(|label| CLOSED.contains(&&**label)).collect()
}

fn key(closed: &[bool], row: &Row) -> Vec<Text> {
    let kept = |(closed, value): (&bool, &Text)| if *closed { value.clone() } else { OVERFLOW.into() };
    closed.iter().zip(&row.labels).map(kept).collect()
}

fn sums(labels: &[Text], rows: Vec<Row>) -> Vec<Row> {
    let closed = closed(labels);
    let mut sums: BTreeMap<Vec<Text>, Row> = BTreeMap::new();
    for row in rows {
        let key = key(&closed, &row);
        match sums.get_mut(&key) {
            Some(sum) => sum.value.add(&row.value),
            None => drop(sums.insert(key.clone(), Row { labels: key, value: row.value })),
        }
    }
    sums.into_values().collect()
}
