//! `any(list, condition)`: whether a condition holds for at least one item of a list of models.
//!
//! Inside the condition a name is first a field of the item, then one of the item around it, then a column of the row.

use super::{Checker, shown};
use crate::expr::error::{Error, Result, Span};
use crate::expr::names::Meaning;
use crate::expr::syntax::Node;
use crate::expr::typed::{Expr, Type};
use crate::name::nearest;
use crate::schema::ValueType;

/// How it is called.
pub const WORD: &str = "any";

impl Checker<'_> {
    pub(super) fn any(&self, arguments: &[Node], span: Span) -> Result<Expr> {
        let [list, condition] = arguments else {
            let message =
                "call it as `any(list, condition)`, with the fields of an item in the condition";
            return Err(Error::new(span, message));
        };
        let of = self.value(list)?;
        let item = match of.kind() {
            Type::List(item @ (ValueType::Model(_) | ValueType::Json)) => item.clone(),
            Type::Json => ValueType::Json,
            kind => return Err(Error::new(list.span.clone(), no_models(&of, kind))),
        };
        let level = self.items.borrow().len();
        self.items.borrow_mut().push(item);
        let checked = self.condition(condition);
        self.items.borrow_mut().pop();
        let checked = checked?;
        // Such a list would be read again for each item around it: the square of a long list.
        if level > 0 && !is_of_items(&of, level) && is_of_items(&checked, level) {
            let message = format!(
                "`{}` is a list of the row, not of the item around it; inside `any`, ask about a list of the item",
                shown(&of)
            );
            return Err(Error::new(list.span.clone(), message));
        }
        Ok(Expr::Any(of.into(), level, checked.into()))
    }

    /// The meaning of a name, inside an `any` or outside.
    pub(super) fn find(&self, name: &str) -> Meaning {
        let items = self.items.borrow();
        let found =
            items.iter().enumerate().rev().find_map(|(level, item)| field(level, item, name));
        found.map_or_else(|| self.names.find(name), Meaning::Value)
    }

    /// The hint after a message that a name does not exist.
    pub(super) fn hint(&self, name: &str) -> String {
        let items = self.items.borrow();
        let Some(ValueType::Model(fields)) = items.last() else { return self.names.hint(name) };
        let mut known = Vec::new();
        collect(fields, "", &mut known);
        let near = nearest::to_dotted(name, known.iter().map(String::as_str));
        let mut all = known;
        all.truncate(12);
        nearest::hint(&near, &format!("an item has {}", all.join(", ")))
    }
}

/// Whether an expression depends on an item outside of `level`.
fn is_of_items(of: &Expr, level: usize) -> bool {
    match of {
        Expr::Element(own, _) => *own < level,
        _ => of.children().into_iter().any(|part| is_of_items(part, level)),
    }
}

/// The field of an item that a dotted name is; `None` if it has none of that name.
fn field(level: usize, item: &ValueType, name: &str) -> Option<Expr> {
    name.split('.').try_fold(Expr::Element(level, item.clone()), |of, key| {
        let value = match of.kind() {
            Type::Json if !key.is_empty() => ValueType::Json,
            Type::Model(fields) => fields.iter().find(|(own, _)| own == key)?.1.clone(),
            _ => return None,
        };
        Some(Expr::Field(of.into(), key.to_owned(), value))
    })
}

fn collect(fields: &[(String, ValueType)], above: &str, names: &mut Vec<String>) {
    for (name, value) in fields {
        let name = format!("{above}{name}");
        match value {
            ValueType::Model(below) => collect(below, &format!("{name}."), names),
            _ => names.push(name),
        }
    }
}

fn no_models(of: &Expr, kind: Type<'_>) -> String {
    let of = shown(of);
    match kind {
        Type::List(ValueType::List(_)) => {
            format!("`{of}` is a list of lists; `any` asks about the fields of a list of models")
        }
        Type::List(_) => format!(
            "`{of}` is a list of plain values, which have no fields; write `contains({of}, ...)`"
        ),
        kind => format!("`{of}` is {}, not a list of models", kind.words()),
    }
}
