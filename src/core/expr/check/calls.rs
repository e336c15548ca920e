//! Checks the arguments of functions and distances.

use std::sync::Arc;

use super::{Checker, any, shown};
use crate::expr::error::{Error, Result, Span};
use crate::expr::function::{Function, common};
use crate::expr::syntax::{Kind, Literal, Node};
use crate::expr::typed::{Column, Expr, Form, Metric, Target, Type, Value};
use crate::name::nearest;
use crate::schema::ValueType;
use crate::time::Timestamp;

impl Checker<'_> {
    pub(super) fn call(&self, name: &str, arguments: &[Node], span: Span) -> Result<Expr> {
        if name.eq_ignore_ascii_case("rand") && arguments.is_empty() {
            return self.name("rand", span);
        }
        for metric in [Metric::Cosine, Metric::Euclidean] {
            if name.eq_ignore_ascii_case(metric.word()) {
                return self.distance(metric, arguments, span);
            }
        }
        if name.eq_ignore_ascii_case(any::WORD) {
            return self.any(arguments, span);
        }
        let Some(function) = Function::named(name) else {
            return Err(Error::new(span, format!("no function `{name}`{}", function_hint(name))));
        };
        let (least, most) = function.takes();
        if arguments.len() < least || arguments.len() > most {
            return Err(Error::new(span, format!("call it as `{}`", function.usage())));
        }
        let arguments = self.arguments(function, arguments)?;
        Ok(Expr::Call(function, arguments))
    }

    fn arguments(&self, function: Function, nodes: &[Node]) -> Result<Vec<Expr>> {
        let strings = |nodes: &[Node]| nodes.iter().map(|node| self.string(node)).collect();
        match function {
            Function::Lower | Function::Upper | Function::Replace => strings(nodes),
            Function::Split => {
                let mut found: Vec<Expr> = strings(&nodes[..2])?;
                found.extend(nodes.get(2).map(whole).transpose()?);
                Ok(found)
            }
            Function::Length => Ok(vec![self.measured(&nodes[0])?]),
            Function::Abs => Ok(vec![self.number(&nodes[0])?]),
            Function::Round => {
                let mut found = vec![self.number(&nodes[0])?];
                found.extend(nodes.get(1).map(whole).transpose()?);
                Ok(found)
            }
            Function::Greatest | Function::Least | Function::Coalesce => self.alike(nodes),
            Function::Contains => self.contained(nodes),
            Function::Year | Function::Month | Function::Day | Function::Hour | Function::Date => {
                Ok(vec![self.moment(&nodes[0])?])
            }
        }
    }

    /// A datetime: of a column, or in quotes.
    fn moment(&self, node: &Node) -> Result<Expr> {
        let expr = match &node.kind {
            Kind::Literal(Literal::Text(text)) => match Timestamp::parse(text) {
                Some(time) => Expr::Value(Value::Time(time)),
                None => self.value(node)?,
            },
            _ => self.value(node)?,
        };
        match expr.kind() {
            Type::Time | Type::Null => Ok(expr),
            kind => {
                let message =
                    format!("expected a datetime; `{}` is {}", shown(&expr), kind.words());
                Err(Error::new(node.span.clone(), message))
            }
        }
    }

    /// An argument that has a length.
    fn measured(&self, node: &Node) -> Result<Expr> {
        let expr = self.value(node)?;
        match expr.kind() {
            Type::Text | Type::List(_) | Type::Json | Type::Null => Ok(expr),
            kind => {
                let message = format!(
                    "`{}` is {}; only a string or a list has a length",
                    shown(&expr),
                    kind.words()
                );
                Err(Error::new(node.span.clone(), message))
            }
        }
    }

    /// Arguments of one common type.
    fn alike(&self, nodes: &[Node]) -> Result<Vec<Expr>> {
        let mut found = vec![self.value(&nodes[0])?];
        for node in &nodes[1..] {
            let typed = found.iter().find(|expr| expr.kind() != Type::Null).unwrap_or(&found[0]);
            let next = self.beside(typed, node)?;
            found.push(next);
        }
        match common(&found) {
            Type::List(_) | Type::Model(_) | Type::Bytes => {
                let span = nodes[0].span.clone();
                Err(Error::new(span, "expected a number, a string, a boolean or a datetime"))
            }
            _ => Ok(found),
        }
    }

    fn contained(&self, nodes: &[Node]) -> Result<Vec<Expr>> {
        let list = self.value(&nodes[0])?;
        let item = match list.kind() {
            Type::List(item) => self.item(item, &nodes[1])?,
            Type::Json | Type::Null => self.value(&nodes[1])?,
            Type::Text => {
                let message = format!("`{}` is a string; write `like \"%...%\"`", shown(&list));
                return Err(Error::new(nodes[0].span.clone(), message));
            }
            kind => {
                let message = format!("`{}` is {}, not a list", shown(&list), kind.words());
                return Err(Error::new(nodes[0].span.clone(), message));
            }
        };
        Ok(vec![list, item])
    }

    /// A value comparable with the items of a list of `item`.
    fn item(&self, item: &ValueType, node: &Node) -> Result<Expr> {
        // Only its type matters.
        let name = "an item".to_owned();
        let column =
            Column { name, column: String::new(), value: item.clone(), form: Form::Presence };
        self.beside(&Expr::Column(column.into()), node)
    }

    fn distance(&self, metric: Metric, arguments: &[Node], span: Span) -> Result<Expr> {
        let [of, target] = arguments else {
            let message = format!(
                "call it as `{}(column, [0.1, 0.2])`, with `row(<sys__id>)` or with the path of a file",
                metric.word()
            );
            return Err(Error::new(span, message));
        };
        let column = match self.value(of)? {
            Expr::Column(column) => column,
            other => {
                let message = format!("`{}` is no column", shown(&other));
                return Err(Error::new(of.span.clone(), message));
            }
        };
        let numbers = match &column.value {
            ValueType::List(item) => Type::of(item).is_number(),
            _ => false,
        };
        if !numbers {
            let message = format!(
                "`{}` is {}, not a list of numbers",
                column.name,
                Type::of(&column.value).words()
            );
            return Err(Error::new(of.span.clone(), message));
        }
        let column = Arc::new(Column { form: Form::Vector, ..(*column).clone() });
        Ok(Expr::Distance(metric, column, self.target(target)?))
    }

    fn target(&self, node: &Node) -> Result<Target> {
        let wrong = || {
            let message =
                "expected a vector `[0.1, 0.2]`, `row(<sys__id>)` or the path of a file in quotes";
            Error::new(node.span.clone(), message)
        };
        match &node.kind {
            Kind::Literal(Literal::Text(path)) => Ok(Target::File(path.clone())),
            Kind::List(items) if !items.is_empty() => {
                let number = |item: &Node| match self.number(item)? {
                    Expr::Value(Value::Int(n)) => Ok(n as f64),
                    Expr::Value(Value::Real(x)) => Ok(x),
                    _ => Err(wrong()),
                };
                Ok(Target::Vector(items.iter().map(number).collect::<Result<_>>()?))
            }
            Kind::Call(name, arguments) if name.eq_ignore_ascii_case("row") => {
                let [only] = &arguments[..] else { return Err(wrong()) };
                match self.number(only)? {
                    Expr::Value(Value::Int(id)) => Ok(Target::Row(id)),
                    _ => Err(wrong()),
                }
            }
            _ => Err(wrong()),
        }
    }
}

/// An integer literal, perhaps with a sign.
pub(super) fn whole(node: &Node) -> Result<Expr> {
    let number = match &node.kind {
        Kind::Literal(Literal::Int(number)) => Some(*number),
        Kind::Minus(of) | Kind::Bare(_, Some(of)) => match (&node.kind, whole(of)?) {
            (Kind::Minus(_), Expr::Value(Value::Int(number))) => number.checked_neg(),
            (_, Expr::Value(Value::Int(number))) => Some(number),
            _ => None,
        },
        _ => None,
    };
    let wrong = || Error::new(node.span.clone(), "expected a whole number");
    number.map(|number| Expr::Value(Value::Int(number))).ok_or_else(wrong)
}

fn function_hint(name: &str) -> String {
    let known = Function::ALL.into_iter().map(Function::word);
    let others = [Metric::Cosine.word(), Metric::Euclidean.word(), any::WORD, "rand"];
    let near = nearest::to(name, known.chain(others));
    nearest::hint(&near, "`dcfs explain --help` lists them")
}
