//! The rows of levels.

use crate::codec::plan::{RowKeys, RowPlan};
use crate::codec::spec::{Column, RowSpec};
use crate::event::Side;

/// Returns the columns of price, quantity, side and time.
pub(super) fn row_columns(row: &RowSpec) -> [Option<Column>; 4] {
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
            Some(Column::Key(key)) => Some(key.into_bytes().into()),
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
