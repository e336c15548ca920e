//! Access to parts of a value: items of lists, fields of models, keys of JSON.

use super::calls::whole;
use super::{Checker, shown};
use crate::expr::error::{Error, Result, Span};
use crate::expr::names::Meaning;
use crate::expr::syntax::{Kind, Literal, Node};
use crate::expr::typed::{Expr, Type, Value};
use crate::name::nearest;
use crate::schema::ValueType;

impl Checker<'_> {
    pub(super) fn index(&self, of: &Node, index: &Node) -> Result<Expr> {
        let expr = self.value(of)?;
        if let Kind::Literal(Literal::Text(key)) = &index.kind {
            return self.field(expr, key, of.span.clone());
        }
        let Expr::Value(Value::Int(number)) = whole(index)? else {
            return Err(Error::new(
                index.span.clone(),
                "expected a whole number or a key in quotes",
            ));
        };
        let item = match expr.kind() {
            Type::List(item) => item.clone(),
            Type::Json => ValueType::Json,
            kind => {
                let message = format!("`{}` is {}, not a list", shown(&expr), kind.words());
                return Err(Error::new(of.span.clone(), message));
            }
        };
        Ok(Expr::Item(expr.into(), number, item))
    }

    pub(super) fn member(&self, of: &Node, key: &str, span: Span) -> Result<Expr> {
        // A name in backquotes may be the last part of a column's name.
        if let Kind::Name(name) = &of.kind
            && let Meaning::Value(expr) = self.find(&format!("{name}.{key}"))
        {
            return Ok(expr);
        }
        let expr = self.value(of)?;
        self.field(expr, key, span)
    }

    pub(super) fn field(&self, of: Expr, key: &str, span: Span) -> Result<Expr> {
        let value = match of.kind() {
            Type::Json => ValueType::Json,
            Type::Model(fields) => match fields.iter().find(|(name, _)| name == key) {
                Some((_, value)) => value.clone(),
                None => {
                    let near = nearest::to(key, fields.iter().map(|(name, _)| name.as_str()));
                    let names: Vec<&str> = fields.iter().map(|(name, _)| name.as_str()).collect();
                    let hint = nearest::hint(&near, &format!("it has {}", names.join(", ")));
                    return Err(Error::new(
                        span,
                        format!("`{}` has no field `{key}`{hint}", shown(&of)),
                    ));
                }
            },
            Type::List(_) => {
                let message =
                    format!("`{0}` is a list; ask for an item, as `{0}[0].{key}`", shown(&of));
                return Err(Error::new(span, message));
            }
            kind => {
                let message =
                    format!("`{}` is {} and has no field `{key}`", shown(&of), kind.words());
                return Err(Error::new(span, message));
            }
        };
        Ok(Expr::Field(of.into(), key.to_owned(), value))
    }
}
