//! Groups of rows, and their aggregates, made by a server: only those that are exactly those of the
//! kernels. The rows are those of one table, or pairs of two whose columns are equal.
//!
//! Keys are integers, booleans, floats and texts, which are compared byte by byte on both sides; so are
//! least and greatest values of all but floats. Both zeros are one float, and NaN is NULL. Sums of
//! integers are made in 128 bits, and means are divided here. Sums of floats depend on the order of
//! rows, and datetimes are texts in SQL: these stay.
//!
//! A join reads each side through a subquery that makes every column Nullable: so what an outer join
//! leaves without a match is NULL whatever `join_use_nulls` says, NULL matches nothing, and no name of
//! one table hides one of the other.

use super::{Class, Remote, Writer};
use crate::expr::eval::{Fold, Operand};
use crate::expr::typed::{Column, Expr};
use crate::schema::ValueType;

/// What the names of columns of a join begin with; no column of a table may.
pub const OWN: &str = "dcfs ";

/// What a server is asked for groups of rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupSql {
    /// The keys, then one value per aggregate; see [`Answered`].
    values: Vec<String>,
    /// The number of keys.
    pub keys: usize,
    pub answered: Vec<Answered>,
    rows: Rows,
    pub parameters: Vec<String>,
}

/// The rows that are grouped.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Rows {
    /// Those of one table that pass a condition; empty for all.
    Table(String),
    Pairs(Join, [Side; 2], Vec<[String; 2]>),
}

/// One side of a join.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Side {
    /// SQL of the columns that are read, each with its name.
    columns: Vec<String>,
    filter: String,
}

/// How a table is joined to the ones before it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Join {
    #[default]
    Inner,
    Left,
    Right,
    Full,
    /// The rows before it that match one of its rows, each once.
    Semi,
    /// The rows before it that match none.
    Anti,
}

/// What a server's value of an aggregate is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answered {
    /// The value itself.
    Value,
    /// A sum in 128 bits, as text; NULL without a value.
    Sum,
    /// The same, and behind a space the number of values.
    SumAndCount,
}

/// A table whose rows are grouped.
#[derive(Clone, Copy)]
pub struct TableOf<'t> {
    /// The condition on its rows.
    pub filter: Option<&'t Expr>,
    /// How the server stores a column.
    pub columns: &'t dyn Fn(&Column) -> Option<Remote>,
}

/// Groups of rows, in terms of the kernels. Keys and aggregates say of which table they speak.
pub struct Groups<'g> {
    pub keys: &'g [(usize, Operand)],
    pub folds: &'g [(usize, Fold)],
    /// The columns of a join of two tables that are equal.
    pub join: Option<(Join, &'g [(Operand, Operand)])>,
}

/// Why a server is not asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Stays {
    #[error("the condition `{0}` may mean something else there")]
    Condition(String),
    #[error("`{0}` is a datetime, which SQL compares as a text")]
    Time(String),
    #[error("`{0}` is stored there in another type")]
    Column(String),
    #[error("`{0}` is a list or JSON, which SQL reads as text")]
    Nested(String),
    #[error(
        "the server may round or choose differently in sums, means, minima and maxima of floats (`{0}`)"
    )]
    Floats(String),
    #[error("`{0}` and `{1}` are of different types")]
    Pair(String, String),
    #[error("a semi or an anti join shows only its first table")]
    Tested,
    #[error("the statement is too long")]
    Long,
}

/// The question for groups; [`Stays`] if a server cannot answer it exactly as the kernels do.
///
/// # Errors
/// The reason.
pub fn groups(groups: &Groups<'_>, tables: &[TableOf<'_>]) -> Result<GroupSql, Stays> {
    let mut reader = Reader { tables, sides: groups.join.map(|_| Default::default()) };
    let mut values = Vec::new();
    for (table, key) in groups.keys {
        values.push(match reader.read(*table, key)? {
            (Class::Int | Class::Bool, key) => format!("toInt64({key})"),
            (_, key) => key,
        });
    }
    let mut answered = Vec::new();
    for (table, fold) in groups.folds {
        let (value, how) = reader.folded(*table, fold)?;
        values.push(value);
        answered.push(how);
    }
    let mut on = Vec::new();
    for (a, b) in groups.join.iter().flat_map(|(_, on)| *on) {
        let ((a_is, a_sql), (b_is, b_sql)) = (reader.read(0, a)?, reader.read(1, b)?);
        if a_is != b_is {
            return Err(Stays::Pair(a.column.name.clone(), b.column.name.clone()));
        }
        on.push([a_sql, b_sql]);
    }
    let is_test = groups.join.is_some_and(|(join, _)| join.is_test());
    let mut tables_read =
        groups.keys.iter().map(|(table, _)| table).chain(groups.folds.iter().map(|(of, _)| of));
    if is_test && tables_read.any(|table| *table != 0) {
        return Err(Stays::Tested);
    }
    let (filters, parameters) = filters(tables)?;
    let mut filters = filters.into_iter();
    let mut next = || filters.next().unwrap_or_default();
    let rows = match (groups.join, reader.sides) {
        (Some((join, _)), Some(mut sides)) => {
            sides.iter_mut().for_each(|side: &mut Side| side.filter = next());
            Rows::Pairs(join, sides, on)
        }
        _ => Rows::Table(next()),
    };
    let sql = GroupSql { values, keys: groups.keys.len(), answered, rows, parameters };
    match sql.statement(&["", ""], usize::MAX).len() <= super::MOST {
        true => Ok(sql),
        false => Err(Stays::Long),
    }
}

/// The SQL of the condition on each table, empty for all rows, and their parameters.
fn filters(tables: &[TableOf<'_>]) -> Result<(Vec<String>, Vec<String>), Stays> {
    let mut filters = Vec::new();
    let mut parameters = Vec::new();
    for table in tables {
        let mut writer = Writer { columns: table.columns, parameters };
        filters.push(match table.filter {
            Some(filter) => {
                let text = writer.rows(filter);
                text.ok_or_else(|| Stays::Condition(filter.to_string()))?
            }
            None => String::new(),
        });
        parameters = writer.parameters;
    }
    Ok((filters, parameters))
}

/// Reads columns of tables, through subqueries if they are joined.
struct Reader<'r> {
    tables: &'r [TableOf<'r>],
    sides: Option<[Side; 2]>,
}

impl Reader<'_> {
    /// The class of an operand, and its SQL.
    fn read(&mut self, table: usize, of: &Operand) -> Result<(Class, String), Stays> {
        let name = || of.column.name.clone();
        let Some(known) = self.tables.get(table) else {
            return Err(Stays::Column(name()));
        };
        let writer = Writer { columns: known.columns, parameters: Vec::new() };
        let (class, sql) = match writer.operand(&of.column, of.part) {
            Some((Class::Time, _)) => return Err(Stays::Time(name())),
            Some(read) => read,
            None if of.column.value == ValueType::Time => return Err(Stays::Time(name())),
            None => return Err(Stays::Column(name())),
        };
        let Some(side) = self.sides.as_mut().and_then(|sides| sides.get_mut(table)) else {
            return Ok((class, sql));
        };
        let (class, kind) = match class {
            Class::Int | Class::Bool => (Class::Int, "Int64"),
            Class::Float => (Class::Float, "Float64"),
            Class::Text | Class::Time => (Class::Text, "String"),
        };
        let sql = format!("CAST({sql}, 'Nullable({kind})')");
        let known = side.columns.iter().position(|known| *known == sql);
        let column = known.unwrap_or_else(|| {
            side.columns.push(sql);
            side.columns.len() - 1
        });
        Ok((class, own(table, column)))
    }

    fn folded(&mut self, table: usize, fold: &Fold) -> Result<(String, Answered), Stays> {
        let sum = |of: &str| format!("if(count({of}) = 0, NULL, toString(sum(toInt128({of}))))");
        let floats = |of: &Operand| Stays::Floats(of.column.name.clone());
        let mut number = |of: &Operand| match self.read(table, of)? {
            (Class::Int | Class::Bool, sql) => Ok(sql),
            _ => Err(floats(of)),
        };
        Ok(match fold {
            Fold::Rows => ("count()".to_owned(), Answered::Value),
            Fold::Count(of) => (format!("count({})", self.read(table, of)?.1), Answered::Value),
            Fold::Distinct(of) => {
                (format!("uniqExact({})", self.read(table, of)?.1), Answered::Value)
            }
            Fold::Sum(of) => (sum(&number(of)?), Answered::Sum),
            Fold::Mean(of) => {
                let of = number(of)?;
                let text = format!("concat({}, ' ', toString(count({of})))", sum(&of));
                (text, Answered::SumAndCount)
            }
            Fold::Least(of) | Fold::Greatest(of) => {
                let word = if matches!(fold, Fold::Least(_)) { "min" } else { "max" };
                let (class, sql) = self.read(table, of)?;
                let value = match class {
                    Class::Int | Class::Bool => format!("toInt64({word}({sql}))"),
                    Class::Text => format!("{word}({sql})"),
                    Class::Float | Class::Time => return Err(floats(of)),
                };
                (format!("if(count({sql}) = 0, NULL, {value})"), Answered::Value)
            }
        })
    }
}

/// The name of a column of a join, quoted.
fn own(table: usize, column: usize) -> String {
    format!("`{OWN}{}{column}`", ["a", "b"][table.min(1)])
}

impl Join {
    /// Whether it only tests the rows before it.
    pub const fn is_test(self) -> bool {
        matches!(self, Self::Semi | Self::Anti)
    }

    /// As ClickHouse writes it. Without ALL, a setting decides whether every match counts.
    const fn clickhouse(self) -> &'static str {
        match self {
            Self::Inner => "ALL INNER JOIN",
            Self::Left => "ALL LEFT JOIN",
            Self::Right => "ALL RIGHT JOIN",
            Self::Full => "ALL FULL JOIN",
            Self::Semi => "LEFT SEMI JOIN",
            Self::Anti => "LEFT ANTI JOIN",
        }
    }
}

impl Side {
    fn select(&self, number: usize, table: &str) -> String {
        let columns = self.columns.iter().enumerate();
        let columns: Vec<String> =
            columns.map(|(at, sql)| format!("{sql} AS {}", own(number, at))).collect();
        format!("(SELECT {} FROM {table}{})", columns.join(", "), only(&self.filter))
    }
}

fn only(filter: &str) -> String {
    if filter.is_empty() { String::new() } else { format!(" WHERE {filter}") }
}

impl GroupSql {
    /// The number of tables that it reads.
    pub const fn tables(&self) -> usize {
        match self.rows {
            Rows::Table(_) => 1,
            Rows::Pairs(..) => 2,
        }
    }

    /// The number of values in a row of the result.
    pub fn width(&self) -> usize {
        self.values.len()
    }

    /// The statement over tables of these quoted names, for at most `limit` groups.
    pub fn statement(&self, tables: &[&str], limit: usize) -> String {
        let table = |number: usize| tables.get(number).copied().unwrap_or_default();
        let from = match &self.rows {
            Rows::Table(filter) => format!("{}{}", table(0), only(filter)),
            Rows::Pairs(join, [first, second], on) => {
                let on: Vec<String> = on.iter().map(|pair| pair.join(" = ")).collect();
                format!(
                    "{} AS `{OWN}a` {} {} AS `{OWN}b` ON {}",
                    first.select(0, table(0)),
                    join.clickhouse(),
                    second.select(1, table(1)),
                    on.join(" AND ")
                )
            }
        };
        let mut sql = format!("SELECT {} FROM {from}", self.values.join(", "));
        if self.keys > 0 {
            sql += &format!(" GROUP BY {} LIMIT {limit}", self.values[..self.keys].join(", "));
        }
        sql
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::Stored;
    use super::*;
    use crate::expr::typed::{Form, Part};

    fn operand(name: &str, value: ValueType) -> Operand {
        let (name, form) = (name.to_owned(), Form::Text);
        Operand { column: Arc::new(Column { column: name.clone(), name, value, form }), part: None }
    }

    fn remote(column: &Column) -> Option<Remote> {
        let stored = match column.value {
            ValueType::Int => Stored::Int,
            ValueType::Float => Stored::Float,
            ValueType::Text => Stored::Text,
            ValueType::Time => Stored::Ticks,
            _ => return None,
        };
        Some(Remote { name: format!("`{}`", column.column), stored })
    }

    const TABLE: TableOf<'_> = TableOf { filter: None, columns: &remote };

    #[test]
    fn one_table_is_grouped_by_its_own_columns() {
        let keys = [(0, operand("n", ValueType::Int)), (0, operand("f", ValueType::Float))];
        let folds = [(0, Fold::Rows), (0, Fold::Distinct(operand("s", ValueType::Text)))];
        let asked = Groups { keys: &keys, folds: &folds, join: None };
        let sql = groups(&asked, &[TABLE]).expect("it is sent").statement(&["`d`.`t`"], 3);
        let f = "if(isNaN(`f`), NULL, `f` + toFloat64(0))";
        assert_eq!(
            sql,
            format!(
                "SELECT toInt64(`n`), {f}, count(), uniqExact(`s`) FROM `d`.`t` GROUP BY toInt64(`n`), {f} LIMIT 3"
            )
        );
    }

    #[test]
    fn a_join_reads_nullable_columns_by_names_of_its_own() {
        let s = operand("s", ValueType::Text);
        let on = [(s.clone(), s.clone())];
        let keys = [(0, s.clone())];
        let folds = [(1, Fold::Greatest(operand("n", ValueType::Int)))];
        let asked = Groups { keys: &keys, folds: &folds, join: Some((Join::Left, &on)) };
        let is_null = Expr::IsNull(Box::new(Expr::Column(s.column.clone())));
        let second = TableOf { filter: Some(&is_null), ..TABLE };
        let sql = groups(&asked, &[TABLE, second]).expect("it is sent");
        assert_eq!((sql.tables(), sql.width(), sql.keys), (2, 2, 1));
        assert_eq!(
            sql.statement(&["x", "y"], 9),
            "SELECT `dcfs a0`, if(count(`dcfs b0`) = 0, NULL, toInt64(max(`dcfs b0`))) \
             FROM (SELECT CAST(`s`, 'Nullable(String)') AS `dcfs a0` FROM x) AS `dcfs a` ALL LEFT JOIN \
             (SELECT CAST(`n`, 'Nullable(Int64)') AS `dcfs b0`, CAST(`s`, 'Nullable(String)') AS `dcfs b1` \
             FROM y WHERE isNull(`s`)) AS `dcfs b` ON `dcfs a0` = `dcfs b1` GROUP BY `dcfs a0` LIMIT 9"
        );
    }

    #[test]
    fn what_differs_stays() {
        let of = |value| operand("x", value);
        let asked = |keys: &[(usize, Operand)], folds: &[(usize, Fold)], join| {
            let asked = Groups { keys, folds, join };
            groups(&asked, &[TABLE, TABLE]).expect_err("it stays")
        };
        let x = || "x".to_owned();
        assert_eq!(asked(&[(0, of(ValueType::Time))], &[], None), Stays::Time(x()));
        assert_eq!(asked(&[(0, of(ValueType::Bytes))], &[], None), Stays::Column(x()));
        let part = Operand { part: Some(Part::Ext), ..of(ValueType::Int) };
        assert_eq!(asked(&[(0, part)], &[], None), Stays::Column(x()));
        for fold in [Fold::Sum, Fold::Mean, Fold::Least, Fold::Greatest] {
            let folds = [(0, fold(of(ValueType::Float)))];
            assert_eq!(asked(&[], &folds, None), Stays::Floats(x()));
        }
        let on = [(of(ValueType::Int), of(ValueType::Text))];
        let join = Some((Join::Inner, &on[..]));
        assert_eq!(asked(&[], &[(0, Fold::Rows)], join), Stays::Pair(x(), x()));
        let on = [(of(ValueType::Int), of(ValueType::Int))];
        let join = Some((Join::Semi, &on[..]));
        assert_eq!(asked(&[(1, of(ValueType::Int))], &[], join), Stays::Tested);
        let glob = Expr::Match(
            crate::expr::Match::Glob,
            Box::new(Expr::Column(of(ValueType::Text).column)),
            Some("*".into()),
        );
        let table = TableOf { filter: Some(&glob), ..TABLE };
        let stays = groups(&Groups { keys: &[], folds: &[], join: None }, &[table]);
        assert!(matches!(stays, Err(Stays::Condition(_))), "{stays:?}");
    }
}
