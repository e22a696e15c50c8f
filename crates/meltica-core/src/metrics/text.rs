//! The two text formats.

use super::{Distribution, Family, Type, Value};
use std::fmt::Write;

/// Returns the text of `families`; in the format of `OpenMetrics` if `open`, otherwise in that of Prometheus.
pub fn text(families: &[Family], open: bool) -> String {
    let mut out = String::with_capacity(families.iter().map(Family::series).sum::<usize>() * 100);
    for family in families {
        write_family(&mut out, family, open);
    }
    if open {
        out.push_str("# EOF\n");
    }
    out
}

fn write_family(out: &mut String, family: &Family, open: bool) {
    let total = if family.kind == Type::Counter { "_total" } else { "" };
    let name = &family.name;
    // OpenMetrics names a counter without the suffix of its series.
    let suffix = if open { "" } else { total };
    let _ = write!(out, "# HELP {name}{suffix} ");
    escape(out, &family.help, open);
    let _ = writeln!(out, "\n# TYPE {name}{suffix} {}", family.kind.name());
    let unit = ["seconds", "bytes"].into_iter().find(|unit| name.ends_with(unit));
    if let Some(unit) = unit.filter(|_| open) {
        let _ = writeln!(out, "# UNIT {name} {unit}");
    }
    for row in &family.rows {
        let mut labels = String::new();
        for (label, value) in family.labels.iter().zip(&row.labels) {
            let comma = if labels.is_empty() { "" } else { "," };
            let _ = write!(labels, "{comma}{label}=\"");
            escape(&mut labels, value, true);
            labels.push('"');
        }
        match &row.value {
            Value::Number(value) => series(out, name, total, &labels, *value),
            Value::Distribution(of) => distribution(out, name, &labels, of),
        }
    }
}

fn distribution(out: &mut String, name: &str, labels: &str, of: &Distribution) {
    let comma = if labels.is_empty() { "" } else { "," };
    let labels_of = of.bounds.labels.iter().map(String::as_str).chain(["+Inf"]);
    for (bound, count) in labels_of.zip(of.counts.iter().chain([&of.total])) {
        let _ = writeln!(out, "{name}_bucket{{{labels}{comma}le=\"{bound}\"}} {count}");
    }
    series(out, name, "_sum", labels, of.sum);
    series(out, name, "_count", labels, of.total as f64);
}

fn series(out: &mut String, name: &str, suffix: &str, labels: &str, value: f64) {
    out.push_str(name);
    out.push_str(suffix);
    if !labels.is_empty() {
        let _ = write!(out, "{{{labels}}}");
    }
    out.push(' ');
    number(out, value);
    out.push('\n');
}

fn number(out: &mut String, value: f64) {
    let _ = match value {
        _ if value.is_nan() => write!(out, "NaN"),
        _ if value.is_infinite() => write!(out, "{}Inf", if value > 0.0 { '+' } else { '-' }),
        _ => write!(out, "{value:?}"),
    };
}

/// Returns the label of a bound.
pub(super) fn bound(value: f64) -> String {
    let mut text = String::new();
    number(&mut text, value);
    // The exponent has two digits in the canonical form.
    text.replace("e-", "e-0")
}

fn escape(out: &mut String, text: &str, quotes: bool) {
    for letter in text.chars() {
        match letter {
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '"' if quotes => out.push_str("\\\""),
            _ => out.push(letter),
        }
    }
}
