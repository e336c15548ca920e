//! The functions of the language: their names, arguments and result types.

use super::typed::{Expr, Type};

/// The longest text that a function may make of a row's, in bytes: a longer one is NULL. SQLite
/// fails at a billion bytes; here thousands of rows are held at a time.
pub const LONGEST: usize = 1 << 20;

/// A function of one row's values. Distances and `rand` are not functions: they name a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Function {
    /// Folds only A to Z, as SQLite does.
    Lower,
    Upper,
    /// Characters of a text up to the first NUL, as in SQLite; bytes of a blob; items of a list or
    /// an object.
    Length,
    Replace,
    /// Splits a text at every separator, or at the first few: gives a list.
    Split,
    Abs,
    Round,
    /// NULL if any argument is.
    Greatest,
    Least,
    /// The first argument that is not NULL.
    Coalesce,
    /// Whether a list has an item.
    Contains,
    /// Parts of a datetime, in UTC: whole numbers.
    Year,
    Month,
    Day,
    Hour,
    /// The midnight before a datetime, in UTC.
    Date,
}

/// The type of the items that [`Function::Split`] gives.
static PIECE: crate::schema::ValueType = crate::schema::ValueType::Text;

impl Function {
    pub const ALL: [Self; 16] = [
        Self::Lower,
        Self::Upper,
        Self::Length,
        Self::Replace,
        Self::Split,
        Self::Abs,
        Self::Round,
        Self::Greatest,
        Self::Least,
        Self::Coalesce,
        Self::Contains,
        Self::Year,
        Self::Month,
        Self::Day,
        Self::Hour,
        Self::Date,
    ];

    pub const fn word(self) -> &'static str {
        match self {
            Self::Lower => "lower",
            Self::Upper => "upper",
            Self::Length => "length",
            Self::Replace => "replace",
            Self::Split => "split",
            Self::Abs => "abs",
            Self::Round => "round",
            Self::Greatest => "greatest",
            Self::Least => "least",
            Self::Coalesce => "coalesce",
            Self::Contains => "contains",
            Self::Year => "year",
            Self::Month => "month",
            Self::Day => "day",
            Self::Hour => "hour",
            Self::Date => "date",
        }
    }

    /// The signature, for a message.
    pub const fn usage(self) -> &'static str {
        match self {
            Self::Lower => "lower(text)",
            Self::Upper => "upper(text)",
            Self::Length => "length(text or list)",
            Self::Replace => "replace(text, from, to)",
            Self::Split => "split(text, separator[, times])",
            Self::Abs => "abs(number)",
            Self::Round => "round(number[, digits])",
            Self::Greatest => "greatest(a, b, ...)",
            Self::Least => "least(a, b, ...)",
            Self::Coalesce => "coalesce(a, b, ...)",
            Self::Contains => "contains(list, item)",
            Self::Year => "year(datetime)",
            Self::Month => "month(datetime)",
            Self::Day => "day(datetime)",
            Self::Hour => "hour(datetime)",
            Self::Date => "date(datetime)",
        }
    }

    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|function| function.word().eq_ignore_ascii_case(name))
    }

    /// The least and the most arguments it takes.
    pub const fn takes(self) -> (usize, usize) {
        match self {
            Self::Lower | Self::Upper | Self::Length | Self::Abs => (1, 1),
            Self::Year | Self::Month | Self::Day | Self::Hour | Self::Date => (1, 1),
            Self::Replace => (3, 3),
            Self::Split => (2, 3),
            Self::Round => (1, 2),
            Self::Contains => (2, 2),
            Self::Greatest | Self::Least | Self::Coalesce => (2, usize::MAX),
        }
    }

    /// The type of its result for checked arguments.
    pub fn gives(self, arguments: &[Expr]) -> Type<'_> {
        match self {
            Self::Lower | Self::Upper | Self::Replace => Type::Text,
            Self::Length | Self::Year | Self::Month | Self::Day | Self::Hour => Type::Int,
            Self::Date => Type::Time,
            Self::Split => Type::List(&PIECE),
            Self::Round => Type::Float,
            Self::Contains => Type::Bool,
            Self::Abs | Self::Greatest | Self::Least | Self::Coalesce => common(arguments),
        }
    }
}

/// The type that holds all arguments, which are of one kind: float if any number is a float.
pub fn common(arguments: &[Expr]) -> Type<'_> {
    let kinds = arguments.iter().map(Expr::kind).filter(|kind| *kind != Type::Null);
    kinds
        .reduce(|all, kind| match (all, kind) {
            (Type::Int, Type::Float) => Type::Float,
            _ => all,
        })
        .unwrap_or(Type::Null)
}
