//! One value of one row, for evaluation value by value.

use std::borrow::Cow;
use std::cmp::Ordering;

use super::number::Number;
use crate::cell::Cell;

/// A value. Booleans are 0 and 1, datetimes microseconds, lists and JSON their text.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Val<'a> {
    #[default]
    Null,
    Int(i64),
    /// Never NaN.
    Real(f64),
    Text(Cow<'a, [u8]>),
}

impl<'a> Val<'a> {
    /// As a number; `None` if it is not one.
    pub fn number(&self) -> Option<Number> {
        match self {
            Self::Int(n) => Some(Number::Int(*n)),
            Self::Real(x) => Some(Number::Real(*x)),
            Self::Null | Self::Text(_) => None,
        }
    }

    /// As a text; `None` if it is not one.
    pub fn text(&self) -> Option<&[u8]> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    /// As a text; numbers as SQLite prints them. `None` for NULL.
    pub fn into_text(self) -> Option<Cow<'a, [u8]>> {
        match self {
            Self::Null => None,
            Self::Text(text) => Some(text),
            number => number.number().map(|number| number.to_text().into_bytes().into()),
        }
    }

    pub fn is_null(&self) -> bool {
        *self == Self::Null
    }

    /// SQLite's order: any number before any text. `None` if one is NULL.
    pub fn order(&self, other: &Self) -> Option<Ordering> {
        match (self, other) {
            (Self::Null, _) | (_, Self::Null) => None,
            (Self::Text(a), Self::Text(b)) => Some(a.cmp(b)),
            (Self::Text(_), _) => Some(Ordering::Greater),
            (_, Self::Text(_)) => Some(Ordering::Less),
            (a, b) => Some(a.number()?.order(b.number()?)),
        }
    }

    /// Its truth as a condition.
    pub fn truth(&self) -> Option<bool> {
        match self {
            Self::Null => None,
            Self::Int(n) => Some(*n != 0),
            Self::Real(x) => Some(*x != 0.0),
            Self::Text(_) => Some(false),
        }
    }

    pub fn of_truth(answer: Option<bool>) -> Self {
        answer.map_or(Self::Null, |is| Self::Int(is.into()))
    }

    /// An owned copy.
    pub fn into_owned(self) -> Val<'static> {
        match self {
            Self::Null => Val::Null,
            Self::Int(n) => Val::Int(n),
            Self::Real(x) => Val::Real(x),
            Self::Text(text) => Val::Text(text.into_owned().into()),
        }
    }
}

/// As in a table of results, except that datetimes are numbers here, and texts there.
impl<'v> From<&'v Val<'_>> for Cell<'v> {
    fn from(value: &'v Val<'_>) -> Self {
        match value {
            Val::Null => Self::Null,
            Val::Int(n) => Self::Integer(*n),
            Val::Real(x) => Self::Real(*x),
            Val::Text(text) => Self::Text(text),
        }
    }
}
