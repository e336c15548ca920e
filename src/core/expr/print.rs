//! The canonical form of a filter: printed from the typed tree with few parentheses; parses back to
//! the same filter.

use std::fmt::{self, Display, Formatter, Write};

use super::lex::{SLASH, begins_word, continues_word};
use super::parse::is_reserved;
use super::syntax::{Arithmetic, Comparison};
use super::typed::{Expr, Key, Query, Target, Value};
use crate::time::Timestamp;

/// The binding power of each form, as in the parser.
mod level {
    pub const OR: u8 = 1;
    pub const AND: u8 = 2;
    pub const NOT: u8 = 3;
    pub const EQUALITY: u8 = 4;
    pub const ORDER: u8 = 5;
    pub const SUM: u8 = 6;
    pub const PRODUCT: u8 = 7;
    pub const CONCAT: u8 = 8;
    pub const SIGN: u8 = 9;
    pub const ATOM: u8 = 10;
}

impl Display for Query {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let mut space = "";
        if let Some(filter) = &self.filter {
            write!(f, "{filter}")?;
            space = " ";
        }
        for (number, key) in self.order.iter().enumerate() {
            let before = if number == 0 { format!("{space}order by ") } else { ", ".into() };
            write!(f, "{before}{key}")?;
            space = " ";
        }
        if let Some(limit) = self.limit {
            write!(f, "{space}limit {limit}")?;
            space = " ";
        }
        if self.offset > 0 || (self.is_plain() && self.filter.is_none()) {
            write!(f, "{space}offset {}", self.offset)?;
        }
        Ok(())
    }
}

impl Display for Key {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.by, if self.down { " desc" } else { "" })
    }
}

impl Display for Expr {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Column(column) => name(f, &column.name),
            Self::Part(file, part, _) => name(f, &format!("{file}.{}", part.word())),
            Self::Value(value) => write!(f, "{value}"),
            Self::Rand(_) => f.write_str("rand"),
            Self::Not(of) => not(f, of),
            Self::Minus(of) => {
                f.write_str("-")?;
                part(f, of, level::ATOM)
            }
            Self::And(terms) => joined(f, terms, " and ", level::AND + 1),
            Self::Or(terms) => joined(f, terms, " or ", level::OR + 1),
            Self::Compare(comparison, a, b) => {
                infix(f, a, comparison.sign(), b, comparison_level(*comparison))
            }
            Self::Arithmetic(operation, a, b) => {
                infix(f, a, operation.sign(), b, arithmetic_level(*operation))
            }
            Self::In(..) | Self::Between(..) | Self::Match(..) => condition(f, self, ""),
            Self::IsNull(_) | Self::IsAbsent(_) => condition(f, self, ""),
            Self::Call(function, arguments) => {
                write!(f, "{}(", function.word())?;
                joined(f, arguments, ", ", 0)?;
                f.write_str(")")
            }
            Self::Distance(metric, column, target) => {
                write!(f, "{}(", metric.word())?;
                name(f, &column.name)?;
                write!(f, ", {target})")
            }
            Self::Item(of, index, _) => {
                part(f, of, level::ATOM)?;
                write!(f, "[{index}]")
            }
            Self::Field(of, key, _) => field(f, of, key),
            Self::Any(list, _, condition) => write!(f, "any({list}, {condition})"),
            // A name means one of its fields; the item itself has no name.
            Self::Element(..) => Ok(()),
        }
    }
}

fn comparison_level(comparison: Comparison) -> u8 {
    match comparison {
        Comparison::Equal | Comparison::NotEqual => level::EQUALITY,
        _ => level::ORDER,
    }
}

fn arithmetic_level(operation: Arithmetic) -> u8 {
    match operation {
        Arithmetic::Add | Arithmetic::Subtract => level::SUM,
        Arithmetic::Concat => level::CONCAT,
        _ => level::PRODUCT,
    }
}

fn level_of(expr: &Expr) -> u8 {
    match expr {
        Expr::Or(_) => level::OR,
        Expr::And(_) => level::AND,
        Expr::Not(of) if is_condition(of) => level::EQUALITY,
        Expr::Not(_) => level::NOT,
        Expr::Compare(comparison, ..) => comparison_level(*comparison),
        Expr::Arithmetic(operation, ..) => arithmetic_level(*operation),
        Expr::Value(Value::Int(i64::MIN..0)) | Expr::Minus(_) => level::SIGN,
        Expr::Value(Value::Real(number)) if number.is_sign_negative() => level::SIGN,
        _ if is_condition(expr) => level::EQUALITY,
        _ => level::ATOM,
    }
}

/// Whether its negation puts `not` inside: `a not in (...)`.
fn is_condition(expr: &Expr) -> bool {
    use Expr::{Between, In, IsAbsent, IsNull, Match};
    matches!(expr, In(..) | Between(..) | Match(..) | IsNull(_) | IsAbsent(_))
}

/// Prints an operand, in parentheses if it binds looser than `least`.
fn part(f: &mut Formatter<'_>, expr: &Expr, least: u8) -> fmt::Result {
    if level_of(expr) < least { write!(f, "({expr})") } else { write!(f, "{expr}") }
}

fn infix(f: &mut Formatter<'_>, a: &Expr, sign: &str, b: &Expr, level: u8) -> fmt::Result {
    part(f, a, level)?;
    write!(f, " {sign} ")?;
    part(f, b, level + 1)
}

fn joined(f: &mut Formatter<'_>, parts: &[Expr], between: &str, least: u8) -> fmt::Result {
    for (number, expr) in parts.iter().enumerate() {
        f.write_str(if number == 0 { "" } else { between })?;
        part(f, expr, least)?;
    }
    Ok(())
}

fn not(f: &mut Formatter<'_>, of: &Expr) -> fmt::Result {
    if is_condition(of) {
        return condition(f, of, "not ");
    }
    f.write_str("not ")?;
    part(f, of, level::NOT)
}

/// Prints `a in (...)` and the like; `not` is `not ` if it is negated.
fn condition(f: &mut Formatter<'_>, expr: &Expr, not: &str) -> fmt::Result {
    let above = level::EQUALITY + 1;
    match expr {
        Expr::In(of, list) => {
            part(f, of, level::EQUALITY)?;
            write!(f, " {not}in (")?;
            joined(f, list, ", ", 0)?;
            f.write_str(")")
        }
        Expr::Between(of, low, high) => {
            part(f, of, level::EQUALITY)?;
            write!(f, " {not}between ")?;
            part(f, low, above)?;
            f.write_str(" and ")?;
            part(f, high, above)
        }
        Expr::Match(kind, of, pattern) => {
            part(f, of, level::EQUALITY)?;
            write!(f, " {not}{} ", kind.word())?;
            match pattern {
                Some(pattern) => string(f, pattern),
                None => f.write_str("null"),
            }
        }
        Expr::IsNull(of) => {
            part(f, of, level::EQUALITY)?;
            write!(f, " is {not}null")
        }
        Expr::IsAbsent(column) => {
            name(f, &column.name)?;
            write!(f, " is {not}null")
        }
        _ => Ok(()),
    }
}

fn field(f: &mut Formatter<'_>, of: &Expr, key: &str) -> fmt::Result {
    if let Expr::Element(..) = of {
        return name(f, key);
    }
    part(f, of, level::ATOM)?;
    if is_word(key) {
        return write!(f, ".{key}");
    }
    f.write_str("[")?;
    string(f, key)?;
    f.write_str("]")
}

fn is_word(name: &str) -> bool {
    name.starts_with(begins_word) && name.chars().all(continues_word)
}

fn name(f: &mut Formatter<'_>, name: &str) -> fmt::Result {
    if name.split('.').all(is_word) && !is_reserved(name) {
        return f.write_str(name);
    }
    write!(f, "`{}`", name.replace('`', "``"))
}

/// Prints a string in double quotes, so that it parses back to the same.
fn string(f: &mut Formatter<'_>, text: &str) -> fmt::Result {
    f.write_char('"')?;
    for (at, c) in text.char_indices() {
        match c {
            '"' => f.write_str("\"\"")?,
            '\\' if reads_as_escape(&text[at..]) => f.write_str("\\u005c")?,
            _ if c.is_control() || c == SLASH => write!(f, "\\u{:04x}", u32::from(c))?,
            _ => f.write_char(c)?,
        }
    }
    f.write_char('"')
}

fn reads_as_escape(text: &str) -> bool {
    let digits = text.strip_prefix("\\u").and_then(|rest| rest.get(..4));
    digits.is_some_and(|digits| digits.bytes().all(|b| b.is_ascii_hexdigit()))
}

impl Display for Value {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("null"),
            Self::Bool(is) => write!(f, "{is}"),
            Self::Int(number) => write!(f, "{number}"),
            Self::Real(number) => real(f, *number),
            Self::Text(text) => string(f, text),
            Self::Time(time) => string(f, &moment(*time)),
        }
    }
}

fn real(f: &mut Formatter<'_>, number: f64) -> fmt::Result {
    match number.is_infinite() {
        true => write!(f, "{}1e999", if number > 0.0 { "" } else { "-" }),
        false => write!(f, "{number:?}"),
    }
}

fn moment(time: Timestamp) -> String {
    let text = time.fixed();
    text.strip_suffix(".000000").map(str::to_owned).unwrap_or(text)
}

impl Display for Target {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Row(id) => write!(f, "row({id})"),
            Self::File(path) => string(f, path),
            Self::Vector(numbers) => {
                f.write_str("[")?;
                for (at, number) in numbers.iter().enumerate() {
                    f.write_str(if at == 0 { "" } else { ", " })?;
                    real(f, *number)?;
                }
                f.write_str("]")
            }
        }
    }
}
