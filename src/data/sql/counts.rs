//! The number of rows for each value of some columns, and aggregates of others.

use std::cmp::Reverse;
use std::sync::Arc;

use super::kernel;
use crate::catalog::{Catalog, VersionInfo};
use crate::pack::{Ordinals, Pack};
use dcfs_core::error::{Error, Kind, Result};
use dcfs_core::expr::Val;
use dcfs_core::name::nearest;
use dcfs_core::render::rows::csv;
use dcfs_core::schema::ValueType;
use dcfs_core::sql::{FoldKind, Known, SqlColumn};

/// An aggregate of a column, beside the number of rows.
#[derive(Clone, Debug)]
pub struct Sum {
    pub kind: FoldKind,
    pub of: SqlColumn,
}

/// The groups of rows and their sizes.
#[derive(Debug)]
pub struct Counts {
    pub keys: Vec<SqlColumn>,
    pub sums: Vec<Sum>,
    /// Values of the keys, number of rows, and aggregates: most rows first, equal counts by value.
    pub groups: Vec<(Vec<Val<'static>>, u64, Vec<Val<'static>>)>,
    /// Rows of all groups.
    pub total: u64,
}

/// A column that rows can be grouped by.
///
/// # Errors
/// `Invalid`: there is none of this name, or it holds lists, JSON or bytes.
pub fn key(known: &Known, name: &str) -> Result<SqlColumn> {
    let wrong = |message: String| Error::new(Kind::Invalid, message);
    if let Some(column) = known.find(name) {
        return match column.value.is_scalar() {
            true => Ok(column.clone()),
            false => Err(wrong(format!(
                "`{name}` holds lists, JSON or bytes, which cannot be counted by value"
            ))),
        };
    }
    let names = || known.columns.iter().map(|column| column.name.as_str());
    let near = match known.model(name).first() {
        Some(first) => vec![first.name.clone()],
        None => nearest::to(name, names()),
    };
    let ending = format!(".{name}");
    let near = match near.is_empty() {
        true => {
            names().filter(|known| known.ends_with(&ending)).take(3).map(str::to_owned).collect()
        }
        false => near,
    };
    let hint = nearest::hint(&near, "`dcfs schema` lists what there is");
    Err(wrong(format!("no column `{name}` to count by{hint}")))
}

/// Counts the rows of `within`, or all, by their values.
///
/// # Errors
/// `Invalid` if there are too many values for memory; errors of the pack and the catalog.
pub fn count(
    version: (&Catalog, &VersionInfo),
    pack: &Arc<Pack>,
    within: Option<&Ordinals>,
    keys: Vec<SqlColumn>,
    sums: Vec<Sum>,
) -> Result<Counts> {
    let mut folds = vec![(FoldKind::Rows, None)];
    folds.extend(sums.iter().map(|sum| (sum.kind, Some(sum.of.clone()))));
    let groups = kernel::of_rows(version, pack, within, &keys, &folds)?.ok_or_else(|| {
        let names: Vec<&str> = keys.iter().map(|key| key.name.as_str()).collect();
        let names = names.join(", ");
        let message = format!(
            "`{names}` has so many different values that counting them needs too much memory; \
             `dcfs sql 'select {names}, count(*) from ... group by all'` counts them on the disk"
        );
        Error::new(Kind::Invalid, message)
    })?;
    let counted = |(keys, mut values): (Vec<Val<'static>>, Vec<Val<'static>>)| {
        let rows = match values.first() {
            Some(Val::Int(rows)) => rows.unsigned_abs(),
            _ => 0,
        };
        values.drain(..1.min(values.len()));
        (keys, rows, values)
    };
    let mut groups: Vec<_> = groups.into_iter().map(counted).collect();
    let total = groups.iter().map(|(_, rows, _)| rows).sum();
    // Groups are sorted by value; the sort is stable, so that order remains among equal counts.
    groups.sort_by_key(|(_, rows, _)| Reverse(*rows));
    Ok(Counts { keys, sums, groups, total })
}

/// The share of some rows in all.
pub fn share(rows: u64, total: u64) -> f64 {
    if total == 0 { 0.0 } else { rows as f64 / total as f64 }
}

impl Sum {
    /// Parses an aggregate: `avg=info.width`.
    ///
    /// # Errors
    /// `Invalid`: no such aggregate; a sum or an average of a column without numbers.
    pub fn read(known: &Known, kind: &str, column: &str) -> Result<Self> {
        let kinds = [
            ("count", FoldKind::Count),
            ("sum", FoldKind::Sum),
            ("avg", FoldKind::Mean),
            ("min", FoldKind::Least),
            ("max", FoldKind::Greatest),
        ];
        let Some((_, found)) = kinds.into_iter().find(|(name, _)| *name == kind) else {
            let message = format!("no `{kind}=`; there are count, sum, avg, min and max");
            return Err(Error::new(Kind::Invalid, message));
        };
        let of = key(known, column)?;
        let is_number = matches!(of.value, ValueType::Int | ValueType::Float | ValueType::Bool);
        if matches!(found, FoldKind::Sum | FoldKind::Mean) && !is_number {
            let message = format!("`{kind}={column}`: `{column}` holds no numbers");
            return Err(Error::new(Kind::Invalid, message));
        }
        Ok(Self { kind: found, of })
    }

    fn title(&self) -> String {
        let name = match self.kind {
            FoldKind::Rows | FoldKind::Count => "count",
            FoldKind::Distinct => "count_distinct",
            FoldKind::Sum => "sum",
            FoldKind::Mean => "avg",
            FoldKind::Least => "min",
            FoldKind::Greatest => "max",
        };
        format!("{name}({})", self.of.name)
    }

    fn value(&self) -> ValueType {
        match self.kind {
            FoldKind::Rows | FoldKind::Count | FoldKind::Distinct => ValueType::Int,
            FoldKind::Mean => ValueType::Float,
            FoldKind::Sum if self.of.value == ValueType::Bool => ValueType::Int,
            FoldKind::Sum | FoldKind::Least | FoldKind::Greatest => self.of.value.clone(),
        }
    }
}

impl Counts {
    /// All of it as CSV: a column of each key, `rows`, `share`, and a column of each sum.
    ///
    /// # Errors
    /// `Invalid`: it is longer than `most` bytes.
    pub fn csv(&self, most: usize) -> Result<Vec<u8>> {
        let mut out = Vec::new();
        let names = self.keys.iter().map(|key| key.name.clone());
        let sums = self.sums.iter().map(Sum::title);
        for (at, name) in names.chain(["rows".into(), "share".into()]).chain(sums).enumerate() {
            if at > 0 {
                out.push(b',');
            }
            csv::quoted(&mut out, name.as_bytes());
        }
        out.push(b'\n');
        let values: Vec<ValueType> = self.sums.iter().map(Sum::value).collect();
        for (keys, rows, sums) in &self.groups {
            for (value, key) in keys.iter().zip(&self.keys) {
                csv::cell(&mut out, value.into(), &key.value);
                out.push(b',');
            }
            out.extend_from_slice(format!("{rows},{}", share(*rows, self.total)).as_bytes());
            for (value, of) in sums.iter().zip(&values) {
                out.push(b',');
                csv::cell(&mut out, value.into(), of);
            }
            out.push(b'\n');
            if out.len() > most {
                let message = format!(
                    "the table of {} groups is longer than {most} bytes; name fewer columns, or write it with \
                     `dcfs sql -o FILE`",
                    self.groups.len()
                );
                return Err(Error::new(Kind::Invalid, message));
            }
        }
        Ok(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_bounded() {
        let group = |rows| (Vec::new(), rows, Vec::new());
        let groups = vec![group(3), group(1)];
        let counts = Counts { keys: Vec::new(), sums: Vec::new(), groups, total: 4 };
        let whole = counts.csv(100).expect("short");
        assert_eq!(whole, b"\"rows\",\"share\"\n3,0.75\n1,0.25\n");
        assert_eq!(counts.csv(whole.len()).expect("just fits"), whole);
        let error = counts.csv(whole.len() - 1).expect_err("too long");
        assert!(error.kind() == Kind::Invalid && error.to_string().contains("2 groups"), "{error}");
    }
}
