use super::*;
use crate::stats::Histogram;

fn family(kind: Type, labels: &[&'static str], rows: Vec<Row>) -> Family {
    Family::new(kind, "meltica_tests", "Of \"tests\" \\ in\nlines.", labels, rows)
}

fn duration(ns: u64) -> Distribution {
    let histogram = Histogram::default();
    histogram.record(ns);
    Distribution::of(&histogram)
}

fn values(family: &Family) -> Vec<(Vec<&str>, f64)> {
    let value = |row: &Row| match &row.value {
        Value::Number(value) => *value,
        Value::Distribution(of) => of.total as f64,
    };
    family.rows.iter().map(|row| (row.labels.iter().map(|label| &**label).collect(), value(row))).collect()
}

#[test]
fn a_family_is_written_in_both_formats() {
    let rows = vec![Row::number(["a\"b\\c\nd".into()], 3.0), Row::number(["e".into()], 0.5)];
    let families = [family(Type::Counter, &["of"], rows)];
    let rows = "meltica_tests_total{of=\"a\\\"b\\\\c\\nd\"} 3.0\nmeltica_tests_total{of=\"e\"} 0.5\n";
    assert_eq!(
        text(&families, false),
        format!(
            "# HELP meltica_tests_total Of \"tests\" \\\\ in\\nlines.\n# TYPE meltica_tests_total counter\n{rows}"
        )
    );
    assert_eq!(
        text(&families, true),
        format!(
            "# HELP meltica_tests Of \\\"tests\\\" \\\\ in\\nlines.\n# TYPE meltica_tests counter\n{rows}# EOF\n"
        )
    );
}

#[test]
fn values_without_digits_have_their_names() {
    let rows = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -1e300, 1e-9];
    let rows = rows.into_iter().map(|value| Row::number([], value)).collect();
    let text = text(&[family(Type::Gauge, &[], rows)], false);
    let written: Vec<_> = text.lines().skip(2).map(|line| line.rsplit(' ').next().unwrap()).collect();
    assert_eq!(written, ["NaN", "+Inf", "-Inf", "-1e300", "1e-9"]);
}

#[test]
fn a_histogram_is_cumulative_and_in_seconds() {
    let rows = vec![Row::distribution(["a".into()], duration(1_500_000))];
    let text = text(&[family(Type::Histogram, &["lambda"], rows)], false);
    let lines: Vec<_> = text.lines().skip(2).collect();
    assert_eq!(lines.len(), BOUNDS.len() + 3);
    assert_eq!(lines[0], "meltica_tests_bucket{lambda=\"a\",le=\"1.024e-06\"} 0");
    assert_eq!(lines[10], "meltica_tests_bucket{lambda=\"a\",le=\"0.001048576\"} 0");
    assert_eq!(lines[11], "meltica_tests_bucket{lambda=\"a\",le=\"0.002097152\"} 1");
    assert_eq!(lines[24], "meltica_tests_bucket{lambda=\"a\",le=\"+Inf\"} 1");
    assert_eq!(lines[25], "meltica_tests_sum{lambda=\"a\"} 0.0015");
    assert_eq!(lines[26], "meltica_tests_count{lambda=\"a\"} 1.0");
}

#[test]
fn a_family_without_rows_has_its_type_nevertheless() {
    let text = text(&[family(Type::Gauge, &["of"], Vec::new())], false);
    assert_eq!(text.lines().last(), Some("# TYPE meltica_tests gauge"));
}

#[test]
fn what_fits_is_kept() {
    let rows = (0..10).map(|n| Row::number([format!("l{n}").into()], 1.0)).collect();
    let mut families = [family(Type::Gauge, &["lambda"], rows)];
    assert_eq!(limit(&mut families, 10), 0);
    assert_eq!(families[0].rows.len(), 10);
}

#[test]
fn what_does_not_fit_is_summed_by_the_labels_of_the_program() {
    let states =
        |n: usize| ["running", "failed"].map(|state| (n, state, f64::from(u8::from(state == "failed"))));
    let rows = (0..10).flat_map(states);
    let rows = rows.map(|(n, state, value)| Row::number([format!("l{n}").into(), state.into()], value));
    let mut families = [family(Type::Gauge, &["lambda", "state"], rows.collect())];
    assert_eq!(limit(&mut families, 8), 14);
    assert_eq!(families[0].series(), 8);
    let values = values(&families[0]);
    assert_eq!(values[5], (vec!["l2", "failed"], 1.0));
    assert_eq!(values[6], (vec!["overflow", "failed"], 7.0));
    assert_eq!(values[7], (vec!["overflow", "running"], 0.0));
}

#[test]
fn histograms_overflow_first() {
    let histograms = (0..4).map(|n| Row::distribution([format!("l{n}").into()], duration(2 << n)));
    let gauges = (0..20).map(|n| Row::number([format!("l{n}").into()], 1.0));
    let mut families = [
        family(Type::Histogram, &["lambda"], histograms.collect()),
        family(Type::Gauge, &["lambda"], gauges.collect()),
    ];
    let width = BOUNDS.len() + 3;
    assert_eq!(limit(&mut families, 20 + 2 * width), 3 * width);
    assert_eq!(values(&families[0]), [(vec!["l0"], 1.0), (vec!["overflow"], 3.0)]);
    assert_eq!(families[1].rows.len(), 20);
    let Value::Distribution(sum) = &families[0].rows[1].value else { panic!() };
    assert_eq!((sum.total, sum.counts[BOUNDS.len() - 1]), (3, 3));
    assert!((sum.sum - 28e-9).abs() < 1e-20);
}

proptest::proptest! {
    #[test]
    fn prop_the_limit_is_kept_and_no_value_is_lost(
        sizes in proptest::collection::vec((0usize..60, 0usize..4, proptest::bool::ANY), 1..6), room in 0usize..400,
    ) {
        let mut families: Vec<_> = sizes
            .iter()
            .map(|(size, states, histogram)| {
                let kind = if *histogram { Type::Histogram } else { Type::Counter };
                let row = |n: usize| {
                    let labels = [Text::from(n.to_string()), (n % (states + 1)).to_string().into()];
                    if *histogram { Row::distribution(labels, duration(5)) } else { Row::number(labels, 1.0) }
                };
                family(kind, &["lambda", "state"], (0..*size).map(row).collect())
            })
            .collect();
        let total = |families: &[Family]| -> Vec<f64> {
            families.iter().map(|each| values(each).iter().map(|(_, value)| value).sum()).collect()
        };
        let width = |histogram: bool| if histogram { BOUNDS.len() + 3 } else { 1 };
        let sums: usize = sizes.iter().map(|(size, states, histogram)| (states + 1).min(*size) * width(*histogram)).sum();
        let (before, series) = (total(&families), families.iter().map(Family::series).sum::<usize>());
        let summed = limit(&mut families, sums + room);
        let after: usize = families.iter().map(Family::series).sum();
        proptest::prop_assert_eq!(before, total(&families));
        proptest::prop_assert!(after <= sums + room);
        proptest::prop_assert_eq!(summed == 0, series == after && series <= sums + room);
    }
}
