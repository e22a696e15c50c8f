//! The rows of levels.

use super::Compiler;
use super::paths::is_key;
use crate::codec::plan::{PartKey, RowKeys, RowPlan, word};
use crate::codec::spec::{Column, RowSpec};
use crate::event::Side;

impl Compiler {
    /// Returns the index of a row, which it adds if it is new.
    pub(super) fn row(&mut self, place: &str, row: &RowSpec) -> u8 {
        let columns = row_columns(row);
        let used: Vec<_> = columns.iter().flatten().collect();
        let keys = used.iter().filter(|column| matches!(column, Column::Key(_))).count();
        if keys != 0 && keys != used.len() {
            self.fault(place, "expected either positions or keys, saw both");
        }
        for (i, column) in used.iter().enumerate() {
            match column {
                Column::At(at) if *at >= 8 => self.fault(place, format_args!("expected 0 to 7, saw {at}")),
                Column::Key(key) if !is_key(key) => {
                    self.fault(place, format_args!("expected a key, saw {key:?}"));
                }
                column if used[..i].contains(column) => {
                    self.fault(place, format_args!("expected different columns, saw {column:?} twice"));
                }
                _ => {}
            }
        }
        if row.side.is_some() == row.sides.is_empty() {
            self.fault(place, "expected a side and the texts of the sides, or neither");
        }
        for (_, name) in row.sides.iter().filter(|(_, name)| Side::from_name(name).is_none()) {
            self.fault(place, format_args!("expected Buy or Sell, saw {name:?}"));
        }
        let at = self.rows.iter().position(|other| other == row).unwrap_or_else(|| {
            self.rows.push(row.clone());
            self.rows.len() - 1
        });
        at as u8
    }
}

/// Returns the columns of price, quantity, side and time.
fn row_columns(row: &RowSpec) -> [Option<Column>; 4] {
    let time = row.time.as_ref().map(|(column, _)| column.clone());
    [Some(row.price.clone()), Some(row.quantity.clone()), row.side.clone(), time]
}

/// Returns the compiled row.
pub(super) fn row_plan(row: &RowSpec) -> RowPlan {
    let columns = row_columns(row);
    let keys = if matches!(row.price, Column::At(_)) {
        let mut positions = [None; 8];
        for (part, column) in columns.iter().enumerate() {
            if let Some(Column::At(at)) = column {
                positions[usize::from(*at & 7)] = Some(part as u8);
            }
        }
        RowKeys::Positions(positions)
    } else {
        RowKeys::Keys(columns.map(|column| match column {
            Some(Column::Key(key)) => {
                Some(PartKey { word: word(key.as_bytes()), text: key.into_bytes().into() })
            }
            _ => None,
        }))
    };
    let side = |(text, name): &(String, String)| (text.as_bytes().into(), name == Side::Sell.name());
    RowPlan {
        keys,
        sides: row.sides.iter().map(side).collect(),
        time: row.time.as_ref().map(|(_, unit)| *unit),
    }
}
