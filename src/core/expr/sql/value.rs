//! Values: columns, literals, and what is computed of them.

use super::condition::before_nul;
use super::{Class, Remote, Stored, Writer};
use crate::expr::function::{Function, LONGEST};
use crate::expr::syntax::Arithmetic;
use crate::expr::typed::{Column, Expr, Part, Value};
use crate::schema::ValueType;

/// The longest SQL of an operand that is written more than once, in bytes: nested ones would grow
/// exponentially.
const LONGEST_SQL: usize = 1024;

fn is_short(sql: &str) -> bool {
    sql.len() <= LONGEST_SQL
}

/// SQL of a computed text that is NULL if the text is too long; `None` if the SQL itself would be.
fn made(sql: &str) -> Option<String> {
    is_short(sql).then(|| format!("if(length({sql}) > {LONGEST}, NULL, {sql})"))
}

/// SQL of a float that is NULL if it is no number, and zero if it is -0: there, three or more `=` joined by
/// `or` become a set, in which the two zeros differ.
fn plain(sql: &str) -> String {
    format!("if(isNaN({sql}), NULL, {sql}{ZERO})")
}

/// SQL behind a float that makes zero of -0.
pub(super) const ZERO: &str = " + toFloat64(0)";

/// The largest integer up to which all are floats.
const EXACT: u64 = 1 << 53;

/// SQL of a float that is stored, in 64 bits.
fn float(Remote { name, stored }: Remote) -> Option<String> {
    match stored {
        Stored::Float => Some(name),
        Stored::Single => Some(format!("toFloat64({name})")),
        _ => None,
    }
}

/// As [`plain`], of a computed float.
fn real(sql: &str) -> Option<String> {
    is_short(sql).then(|| plain(sql))
}

/// The result of integers: the same as a float where it exceeds 64 bits.
pub(super) struct Wide {
    /// In 128 bits.
    pub(super) exact: String,
    real: String,
}

impl Wide {
    /// A condition on the result, whichever it is.
    pub(super) fn either(&self, condition: impl Fn(&str) -> String) -> String {
        let Self { exact, real } = self;
        let whole = format!("toInt64({exact})");
        format!("if(toInt128({whole}) = {exact}, {}, {})", condition(&whole), condition(real))
    }
}

impl Writer<'_> {
    /// The result of integers that may exceed 64 bits; `None` for anything else.
    pub(super) fn wide(&mut self, expr: &Expr) -> Option<Wide> {
        let (exact, real) = match expr {
            Expr::Arithmetic(
                operation @ (Arithmetic::Add | Arithmetic::Subtract | Arithmetic::Multiply),
                a,
                b,
            ) => {
                let (a, b, sign) = (self.int(a)?, self.int(b)?, operation.sign());
                (
                    format!("(toInt128({a}) {sign} toInt128({b}))"),
                    format!("(toFloat64({a}) {sign} toFloat64({b}))"),
                )
            }
            Expr::Minus(of) if !matches!(**of, Expr::Value(_)) => {
                let of = self.int(of)?;
                (
                    format!("(toInt128(0) - toInt128({of}))"),
                    format!("(toFloat64(0) - toFloat64({of}))"),
                )
            }
            Expr::Call(Function::Abs, arguments) => {
                let of = self.int(arguments.first()?)?;
                let wide = format!("toInt128({of})");
                (
                    format!("if({of} < 0, toInt128(0) - {wide}, {wide})"),
                    format!("abs(toFloat64({of}))"),
                )
            }
            _ => return None,
        };
        is_short(&exact).then_some(Wide { exact, real })
    }

    /// An integer.
    fn int(&mut self, expr: &Expr) -> Option<String> {
        match self.value(expr)? {
            (Class::Int, text) => Some(text),
            _ => None,
        }
    }

    pub(super) fn value(&mut self, expr: &Expr) -> Option<(Class, String)> {
        match expr {
            Expr::Column(column) => self.column(column),
            Expr::Part(_, part, column) => self.operand(column, Some(*part)),
            Expr::Value(value) => self.literal(value),
            Expr::Minus(of) => match &**of {
                Expr::Value(Value::Int(n)) => self.literal(&Value::Int(n.checked_neg()?)),
                Expr::Value(Value::Real(x)) => self.literal(&Value::Real(-x)),
                of => match self.value(of)? {
                    (Class::Float, of) => {
                        Some((Class::Float, real(&format!("(toFloat64(0) - {of})"))?))
                    }
                    _ => None,
                },
            },
            Expr::Arithmetic(operation, a, b) => self.arithmetic(*operation, a, b),
            Expr::Call(function, arguments) => self.call(*function, arguments),
            _ => None,
        }
    }

    fn arithmetic(&mut self, operation: Arithmetic, a: &Expr, b: &Expr) -> Option<(Class, String)> {
        let divisor = match b {
            Expr::Value(Value::Int(n)) => Some(*n),
            _ => None,
        };
        let ((a_is, a), (b_is, b)) = (self.value(a)?, self.value(b)?);
        if operation == Arithmetic::Concat {
            let is_text = a_is == Class::Text && b_is == Class::Text;
            return is_text.then(|| made(&format!("({a} || {b})"))).flatten().map(text);
        }
        match (a_is, b_is) {
            // By zero it raises there, and by -1 it may.
            (Class::Int, Class::Int) if operation == Arithmetic::Remainder => {
                let is_sound = !matches!(divisor, None | Some(0 | -1));
                is_sound.then(|| (Class::Int, format!("(toInt64({a}) % {b})")))
            }
            // Of two integers, the quotient is rounded twice there, and the others are wide.
            (Class::Int, Class::Int) => None,
            _ if !a_is.is_number() || !b_is.is_number() => None,
            _ => {
                let sql = format!("(toFloat64({a}) {} toFloat64({b}))", operation.sign());
                let sql = match operation {
                    Arithmetic::Divide => format!("if({b} = 0, NULL, {sql})"),
                    Arithmetic::Remainder | Arithmetic::Concat => return None,
                    _ => sql,
                };
                Some((Class::Float, real(&sql)?))
            }
        }
    }

    fn call(&mut self, function: Function, arguments: &[Expr]) -> Option<(Class, String)> {
        let values: Option<Vec<_>> = arguments.iter().map(|of| self.value(of)).collect();
        let values = values?;
        let class = values.first()?.0;
        let is_one = values.iter().all(|(other, _)| *other == class);
        let texts: Vec<&str> = values.iter().map(|(_, text)| text.as_str()).collect();
        match (function, &texts[..]) {
            (Function::Lower | Function::Upper, [of]) if class == Class::Text => {
                Some(text(made(&format!("{}({of})", function.word()))?))
            }
            // Bytes that continue no character are counted neither here nor there.
            (Function::Length, [of]) if class == Class::Text && is_short(of) => {
                let length = before_nul(of, |of| format!("lengthUTF8({of})"));
                Some((Class::Int, format!("toInt64({length})")))
            }
            (Function::Replace, [of, from, to]) if is_one && class == Class::Text => {
                let is_plain = |text: &str| !text.is_empty() && !text.contains('\0');
                match &arguments[1] {
                    Expr::Value(Value::Text(text)) if is_plain(text) => {}
                    _ => return None,
                }
                Some(text(made(&format!("replaceAll({of}, {from}, {to})"))?))
            }
            (Function::Abs, [of]) if class == Class::Float => Some((class, format!("abs({of})"))),
            (Function::Greatest | Function::Least, _)
                if is_one && class != Class::Bool && texts.iter().all(|text| is_short(text)) =>
            {
                let nulls: Vec<String> = texts.iter().map(|of| format!("isNull({of})")).collect();
                let (nulls, word, all) = (nulls.join(" OR "), function.word(), texts.join(", "));
                Some((class, format!("if({nulls}, NULL, {word}({all}))")))
            }
            (Function::Coalesce, _) if is_one => {
                Some((class, format!("coalesce({})", texts.join(", "))))
            }
            _ => None,
        }
    }

    /// A column, or a component of the path in it.
    pub(super) fn operand(&self, column: &Column, part: Option<Part>) -> Option<(Class, String)> {
        match (self.column(column)?, part) {
            (of, None) => Some(of),
            ((Class::Text, path), Some(part)) => Some((Class::Text, part_of(part, &path))),
            _ => None,
        }
    }

    pub(super) fn column(&self, column: &Column) -> Option<(Class, String)> {
        let remote = (self.columns)(column)?;
        if column.value == ValueType::Float {
            return Some((Class::Float, plain(&float(remote)?)));
        }
        let Remote { name, stored } = remote;
        Some(match (&column.value, stored) {
            (ValueType::Int, Stored::Int) => (Class::Int, name),
            (ValueType::Bool, Stored::Bool) => (Class::Bool, name),
            (ValueType::Text, Stored::Text) => (Class::Text, name),
            (ValueType::Time, Stored::Ticks) => {
                (Class::Time, format!("toUnixTimestamp64Micro({name})"))
            }
            (ValueType::Time, Stored::Seconds) => {
                (Class::Time, format!("(toInt64(toUnixTimestamp({name})) * 1000000)"))
            }
            _ => return None,
        })
    }

    /// A float as it is stored, which may be NaN, with `zero` behind it, or a literal as a float; `None` for anything else.
    pub(super) fn stored_float(&mut self, expr: &Expr, zero: &str) -> Option<String> {
        let literal = |value: &Value| match value {
            Value::Int(n) if n.unsigned_abs() <= EXACT => Some(*n as f64),
            Value::Real(x) => Some(*x),
            _ => None,
        };
        let value = match expr {
            Expr::Column(column) if column.value == ValueType::Float => {
                return Some(float((self.columns)(column)?)? + zero);
            }
            Expr::Value(value) => literal(value)?,
            Expr::Minus(of) => match &**of {
                Expr::Value(value) => -literal(value)?,
                _ => return None,
            },
            _ => return None,
        };
        Some(self.literal(&Value::Real(value))?.1)
    }

    fn literal(&mut self, value: &Value) -> Option<(Class, String)> {
        Some(match value {
            Value::Null => return None,
            Value::Bool(is) => (Class::Bool, self.parameter("Bool", is.to_string())),
            Value::Int(n) => (Class::Int, self.parameter("Int64", n.to_string())),
            // Sent as its bits: not every reader parses the text of a float alike.
            Value::Real(x) => {
                let bits = self.parameter("UInt64", (x + 0.0).to_bits().to_string());
                (Class::Float, format!("reinterpretAsFloat64({bits})"))
            }
            Value::Text(text) => (Class::Text, self.parameter("String", text.clone())),
            Value::Time(time) => (Class::Time, self.parameter("Int64", time.micros().to_string())),
        })
    }
}

fn text(sql: String) -> (Class, String) {
    (Class::Text, sql)
}

/// A component of a path, by its bytes; defined by [`Part::of`].
fn part_of(part: Part, path: &str) -> String {
    // Places of the last slash and the last dot, counted from the end; 0 for none.
    let [slash, dot] =
        ["/", "."].map(|sign| format!("toInt64(position(reverse({path}), '{sign}'))"));
    let length = format!("toInt64(length({path}))");
    let has_dot = format!("({dot} != 0 AND ({slash} = 0 OR {dot} < {slash}))");
    let first = format!("if({slash} = 0, 1, {length} - {slash} + 2)");
    match part {
        Part::Name => format!("substring({path}, {first})"),
        // NULL of NULL: the condition chooses a place, not a text.
        Part::Ext => {
            format!("substring({path}, if({has_dot}, {length} - {dot} + 2, {length} + 1))")
        }
        Part::Stem => {
            let end = format!("if({has_dot}, {length} - {dot} + 1, {length} + 1)");
            format!("trim(TRAILING '.' FROM substring({path}, {first}, {end} - {first}))")
        }
        Part::Parent => {
            let end = format!("if({slash} = 0, 0, {length} - {slash})");
            format!("trim(TRAILING '/' FROM substring({path}, 1, {end}))")
        }
    }
}
