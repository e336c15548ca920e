//! Differences between the statistics of two versions: a line for each column that moved.

use serde::Serialize;

use super::facts::{ColumnStatistics, Measures, Number, Statistics, share};

/// Moves of a mean, a median or an end by less than this share of the earlier spread are not
/// reported.
const LEAST_MOVE: f64 = 0.05;

/// Moves of the share of NULLs, or of a label, by less than this are not reported.
const LEAST_SHARE: f64 = 0.01;

/// The most labels reported per column.
const MOST_LABELS: usize = 3;

/// A column whose statistics moved, and how, in words.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Moved {
    pub column: String,
    pub how: Vec<String>,
}

/// The columns in both that moved, in the order of the later version.
pub fn moved(before: &Statistics, after: &Statistics) -> Vec<Moved> {
    let find = |column: &ColumnStatistics| {
        before.statistics.iter().find(|old| old.column_name == column.column_name)
    };
    let pairs = after.statistics.iter().filter_map(|new| Some((find(new)?, new)));
    pairs
        .map(|(old, new)| Moved { column: new.column_name.clone(), how: how(old, new) })
        .filter(|moved| !moved.how.is_empty())
        .collect()
}

fn how(old: &ColumnStatistics, new: &ColumnStatistics) -> Vec<String> {
    let (before, after) = (&old.column_statistics, &new.column_statistics);
    let mut parts = Vec::new();
    let (from, to) = (before.nan_proportion, after.nan_proportion);
    if (from - to).abs() >= LEAST_SHARE {
        parts.push(format!("NULL {} -> {}", percent(from), percent(to)));
    }
    if old.column_type == new.column_type {
        parts.extend(shares(before, after));
        parts.extend(numbers(before, after));
    }
    let gained = new.flags.iter().filter(|flag| !old.flags.contains(flag));
    parts.extend(gained.map(|flag| format!("now {}", flag.word())));
    parts
}

/// The labels whose shares moved most.
fn shares(before: &Measures, after: &Measures) -> Vec<String> {
    if before.frequencies.is_none() || after.frequencies.is_none() {
        return Vec::new();
    }
    let total = |of: &Measures| of.labels().map(|(_, n)| n).sum::<u64>();
    let (all_before, all_after) = (total(before), total(after));
    let of = |of: &Measures, label: &str, all| {
        let known = of.frequencies.as_ref().and_then(|labels| labels.get(label)?.as_u64());
        share(known.unwrap_or_default(), all)
    };
    let gone = before.labels().filter(|(label, _)| {
        after.frequencies.as_ref().is_some_and(|labels| !labels.contains_key(*label))
    });
    let named = after.labels().chain(gone).map(|(label, _)| label);
    let mut moves: Vec<(&str, f64, f64)> = named
        .map(|label| (label, of(before, label, all_before), of(after, label, all_after)))
        .filter(|(_, from, to)| (from - to).abs() >= LEAST_SHARE)
        .collect();
    moves.sort_by(|(_, a, b), (_, c, d)| (c - d).abs().total_cmp(&(a - b).abs()));
    let told = moves.iter().take(MOST_LABELS);
    told.map(|(label, from, to)| format!("{label} {} -> {}", percent(*from), percent(*to)))
        .collect()
}

/// Moves of minimum, maximum, mean and median.
fn numbers(before: &Measures, after: &Measures) -> Vec<String> {
    let spread = |of: &Measures| {
        let ends = of.min.as_ref()?.real().zip(of.max.as_ref()?.real());
        ends.map(|(min, max)| max - min)
    };
    let least = spread(before).map(|spread| spread * LEAST_MOVE);
    let named = [
        ("min", &before.min, &after.min),
        ("max", &before.max, &after.max),
        ("mean", &before.mean, &after.mean),
        ("median", &before.median, &after.median),
    ];
    let told = named.into_iter().filter_map(|(name, old, new)| {
        let (old, new) = (old.as_ref()?, new.as_ref()?);
        let is_told = match (old.real(), new.real(), least) {
            (Some(old), Some(new), Some(least)) => old != new && (old - new).abs() >= least,
            _ => old != new && matches!(name, "min" | "max"),
        };
        is_told.then(|| format!("{name} {} -> {}", shown(old), shown(new)))
    });
    told.collect()
}

fn shown(number: &Number) -> String {
    match number {
        Number::Int(n) => n.to_string(),
        Number::Real(x) => super::page::short(*x),
        Number::Text(text) => text.clone(),
    }
}

fn percent(share: f64) -> String {
    super::page::percent_of(share)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::facts::{ColumnType, Flag};

    fn column(measures: Measures) -> Statistics {
        let column = ColumnStatistics {
            column_name: "c".into(),
            column_type: ColumnType::Int,
            column_statistics: measures,
            flags: Vec::new(),
        };
        Statistics { statistics: vec![column], ..Statistics::default() }
    }

    fn ints(min: i64, max: i64, mean: f64) -> Measures {
        Measures {
            min: Some(Number::Int(min)),
            max: Some(Number::Int(max)),
            mean: Some(Number::Real(mean)),
            ..Measures::default()
        }
    }

    #[test]
    fn what_hardly_moves_is_not_told() {
        let before = column(ints(0, 100, 50.0));
        assert_eq!(moved(&before, &column(ints(0, 101, 51.0))), []);
        let told = moved(&before, &column(Measures { nan_proportion: 0.5, ..ints(0, 200, 90.0) }));
        assert_eq!(told[0].how, ["NULL 0% -> 50%", "max 100 -> 200", "mean 50 -> 90"]);
        let mut flagged = before.clone();
        flagged.statistics[0].flags.push(Flag::Constant);
        assert_eq!(moved(&before, &flagged)[0].how, ["now constant"]);
        assert_eq!(moved(&flagged, &before), []);
    }

    #[test]
    fn labels_that_come_and_go_are_told() {
        let labels = |pairs: &[(&str, u64)]| {
            let pairs = pairs.iter().map(|(label, n)| ((*label).to_owned(), (*n).into()));
            column(Measures { frequencies: Some(pairs.collect()), ..Measures::default() })
        };
        let told = moved(&labels(&[("a", 9), ("b", 1)]), &labels(&[("a", 5), ("c", 5)]));
        assert_eq!(told[0].how, ["c 0% -> 50%", "a 90% -> 50%", "b 10% -> 0%"]);
    }
}
