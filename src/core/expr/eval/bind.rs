//! Compiles a checked filter over packed columns into operations on blocks of rows.
//!
//! A condition on one column becomes a loop over the column if one exists for it. If it reads only
//! one dictionary-encoded column of texts, it is evaluated once per text, and for NULL, and becomes
//! a table look-up whatever it says. Everything else is computed value by value. Cheap terms of
//! `and` and `or` go first, since their order has no meaning.

use std::collections::HashSet;
use std::sync::Arc;

use super::any::{self, Any, Given};
use super::beside::beside;
use super::bits::{BLOCK, Bits};
use super::kernel::{Block, Searcher};
use super::number::Number;
use super::value::Val;
use super::{Columns, Fault};
use crate::cancel;
use crate::expr::function::Function;
use crate::expr::packed::{Packed, Texts, Valid, Vectors};
use crate::expr::regexp::{Regexp, Stuck};
use crate::expr::syntax::{Arithmetic, Comparison, Match};
use crate::expr::typed::{Column, Expr, Metric, Part, Type, Value};
use crate::expr::wild::Wild;
use crate::schema::ValueType;

/// A compiled condition.
pub enum Test<'a> {
    Constant(Option<bool>),
    And(Vec<Test<'a>>),
    Or(Vec<Test<'a>>),
    Not(Box<Test<'a>>),
    Valid(Valid<'a>),
    Bools(&'a [[u8; 8]], Valid<'a>),
    /// Integers in a range, inclusive.
    Range(&'a [[u8; 8]], Valid<'a>, i64, i64),
    Narrow(&'a [[u8; 4]], Valid<'a>, i64, i64),
    Floats(&'a [[u8; 8]], Valid<'a>, Comparison, f64),
    /// The answer for each dictionary index, 1 for yes and 2 for NULL; and the answer for NULL.
    Words(&'a [[u8; 2]], Valid<'a>, Vec<u8>, Option<bool>),
    Equal(Texts<'a>, Valid<'a>, Vec<u8>),
    Search(Texts<'a>, Valid<'a>, Box<Searcher>, Wild),
    Compare(Comparison, Node<'a>, Node<'a>),
    In(Node<'a>, Items<'a>),
    Between(Node<'a>, Node<'a>, Node<'a>),
    Match(Node<'a>, Matcher),
    IsNull(Node<'a>),
    Any(Box<Any<'a>>),
    Value(Node<'a>),
}

/// A compiled value.
pub enum Node<'a> {
    Column(Packed<'a>),
    Part(Part, Packed<'a>),
    Constant(Val<'static>),
    Test(Box<Test<'a>>),
    Rand(Packed<'a>),
    Minus(Box<Node<'a>>),
    Arithmetic(Arithmetic, Box<Node<'a>>, Box<Node<'a>>),
    Call(Function, Vec<Node<'a>>, ValueType),
    Distance(Metric, Option<Vectors<'a>>, Valid<'a>, Vec<f64>),
    Item(Box<Node<'a>>, i64, ValueType),
    Field(Box<Node<'a>>, String, ValueType),
    /// One value per row of the block.
    Given(&'a [Val<'a>]),
}

/// The list of an `in`.
pub enum Items<'a> {
    /// Constants, and whether NULL is one of them.
    Known(HashSet<Thing>, bool),
    Any(Vec<Node<'a>>),
}

/// A constant whose equality is SQL's.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Thing {
    Int(i64),
    /// The bits of a float that is not integral.
    Real(u64),
    Text(Box<[u8]>),
}

/// A compiled pattern.
pub enum Matcher {
    /// The pattern `null`.
    Never,
    Wild(Wild),
    Regexp(Regexp),
}

impl Thing {
    /// `None` for NULL.
    pub fn of(value: &Val<'_>) -> Option<Self> {
        Some(match value {
            Val::Null => return None,
            Val::Int(n) => Self::Int(*n),
            Val::Real(x) if Number::Real(*x).order(Number::Int(*x as i64)).is_eq() => {
                Self::Int(*x as i64)
            }
            Val::Real(x) => Self::Real(x.to_bits()),
            Val::Text(text) => Self::Text(text.as_ref().into()),
        })
    }
}

impl Matcher {
    fn new(kind: Match, pattern: Option<&str>) -> Self {
        let Some(pattern) = pattern else { return Self::Never };
        match kind {
            Match::Like => Self::Wild(Wild::like(pattern)),
            Match::Ilike => Self::Wild(Wild::ilike(pattern)),
            Match::Glob => Self::Wild(Wild::glob(pattern)),
            // It compiled when the filter was checked.
            Match::Regexp => Regexp::new(pattern).map_or(Self::Never, Self::Regexp),
        }
    }

    /// `None` for the pattern `null`.
    pub fn is_match(&self, text: &[u8]) -> Result<Option<bool>, Fault> {
        match self {
            Self::Never => Ok(None),
            Self::Wild(wild) => Ok(Some(wild.is_match(text))),
            // A text may take a million steps, and there are many rows.
            Self::Regexp(regexp) if regexp.is_counted() && cancel::is_cancelled() => {
                Err(Fault::Cancelled)
            }
            Self::Regexp(regexp) => match regexp.is_match(text) {
                Ok(found) => Ok(Some(found)),
                Err(Stuck::TooManySteps) => Err(Fault::TooManySteps),
                Err(Stuck::Broken) => Err(Fault::BadPattern),
            },
        }
    }
}

/// Compiles filters over columns.
pub struct Binder<'a> {
    pub columns: &'a dyn Columns,
    /// Inside an `any`: what stands in for the item, and for what does not depend on it.
    pub given: Option<&'a Given<'a>>,
}

/// The substitute for a dictionary-encoded column: its texts, or NULL.
#[derive(Clone, Copy)]
enum Place<'a> {
    Texts(Texts<'a>),
    Null,
}

/// A column and its substitute.
type Instead<'a> = Option<(&'a Arc<Column>, Place<'a>)>;

impl<'a> Binder<'a> {
    /// Compiles a condition.
    pub fn test(&self, expr: &'a Expr) -> Result<Test<'a>, Fault> {
        self.test_of(expr, None)
    }

    /// Compiles a value.
    pub fn node(&self, expr: &'a Expr) -> Result<Node<'a>, Fault> {
        self.node_of(expr, None)
    }

    fn packed(&self, column: &Arc<Column>, instead: Instead<'a>) -> Packed<'a> {
        match instead {
            Some((known, Place::Texts(texts))) if known == column => {
                Packed::Texts(texts, Valid::ALL)
            }
            Some((known, Place::Null)) if known == column => Packed::Null,
            _ => self.columns.packed(column),
        }
    }

    fn test_of(&self, expr: &'a Expr, instead: Instead<'a>) -> Result<Test<'a>, Fault> {
        if let Some(values) = self.given.and_then(|given| given.of(expr)) {
            return Ok(Test::Value(Node::Given(values)));
        }
        if instead.is_none()
            && self.given.is_none()
            && let Some(table) = self.table(expr)?
        {
            return Ok(table);
        }
        let node = |expr| self.node_of(expr, instead);
        Ok(match expr {
            Expr::And(terms) => Test::And(self.terms(terms, instead)?),
            Expr::Or(terms) => Test::Or(self.terms(terms, instead)?),
            Expr::Not(of) => Test::Not(self.test_of(of, instead)?.into()),
            Expr::Value(value) => Test::Constant(match value {
                Value::Bool(is) => Some(*is),
                _ => None,
            }),
            Expr::Compare(comparison, a, b) => {
                match self.against_constant(*comparison, a, b, instead) {
                    Some(test) => test,
                    None => Test::Compare(*comparison, node(a)?, node(b)?),
                }
            }
            Expr::In(of, list) => Test::In(node(of)?, self.items(list, instead)?),
            Expr::Between(of, low, high) => {
                let low_test = self.against_constant(Comparison::AtLeast, of, low, instead);
                let high_test = self.against_constant(Comparison::AtMost, of, high, instead);
                match (low_test, high_test) {
                    (Some(low), Some(high)) => Test::And(vec![low, high]),
                    _ => Test::Between(node(of)?, node(low)?, node(high)?),
                }
            }
            Expr::Match(kind, of, pattern) => {
                self.matched(*kind, of, pattern.as_deref(), instead)?
            }
            Expr::IsNull(of) => match &**of {
                Expr::Column(column) => match self.packed(column, instead) {
                    Packed::Presence(valid) => Test::Not(Test::Valid(valid).into()),
                    _ => Test::IsNull(node(of)?),
                },
                _ => Test::IsNull(node(of)?),
            },
            Expr::IsAbsent(tag) => match self.packed(tag, instead) {
                Packed::Ints(values, valid) => absent(valid, Test::Range(values, Valid::ALL, 0, 0)),
                Packed::Narrow(values, valid) => {
                    absent(valid, Test::Narrow(values, Valid::ALL, 0, 0))
                }
                _ => Test::Constant(Some(true)),
            },
            Expr::Column(column) => match self.packed(column, instead) {
                Packed::Bools(bits, valid) => Test::Bools(bits, valid),
                _ => Test::Value(node(expr)?),
            },
            Expr::Any(list, level, condition) => {
                let mut parts = Vec::new();
                any::outer(condition, *level, &mut parts);
                let outer = parts.into_iter().map(|part| Ok((part, node(part)?)));
                let outer = outer.collect::<Result<_, Fault>>()?;
                Test::Any(Any { list: node(list)?, level: *level, condition, outer }.into())
            }
            _ => Test::Value(node(expr)?),
        })
    }

    fn terms(&self, terms: &'a [Expr], instead: Instead<'a>) -> Result<Vec<Test<'a>>, Fault> {
        let tests = terms.iter().map(|term| self.test_of(term, instead));
        let mut tests = tests.collect::<Result<Vec<_>, _>>()?;
        tests.sort_by_key(Test::cost);
        Ok(tests)
    }

    /// The table of answers, if a condition reads only one dictionary-encoded column.
    fn table(&self, expr: &'a Expr) -> Result<Option<Test<'a>>, Fault> {
        let mut columns: Vec<&'a Arc<Column>> = Vec::new();
        expr.each_column(&mut |column| {
            if !columns.contains(&column) {
                columns.push(column);
            }
        });
        let [column] = columns[..] else { return Ok(None) };
        let Packed::Words(codes, texts, valid) = self.columns.packed(column) else {
            return Ok(None);
        };
        let test = self.test_of(expr, Some((column, Place::Texts(texts))))?;
        let mut table = Vec::with_capacity(texts.len());
        for start in (0..texts.len()).step_by(BLOCK) {
            let block = Block { start, length: BLOCK.min(texts.len() - start) };
            let truth = test.truth(block, &block.all())?;
            table.extend(
                (0..block.length)
                    .map(|row| u8::from(truth.yes.get(row)) | u8::from(truth.null.get(row)) << 1),
            );
        }
        let block = Block { start: 0, length: 1 };
        let of_null = self.test_of(expr, Some((column, Place::Null)))?;
        let of_null = of_null.truth(block, &Bits::first(1))?;
        let of_null = (!of_null.null.get(0)).then(|| of_null.yes.get(0));
        Ok(Some(Test::Words(codes, valid, table, of_null)))
    }

    /// A column compared with a constant.
    fn against_constant(
        &self,
        comparison: Comparison,
        a: &'a Expr,
        b: &'a Expr,
        instead: Instead<'a>,
    ) -> Option<Test<'a>> {
        match (a, b) {
            (Expr::Column(column), Expr::Value(value)) => {
                beside(self.packed(column, instead), comparison, &constant(value))
            }
            (Expr::Value(value), Expr::Column(column)) => {
                beside(self.packed(column, instead), comparison.mirrored(), &constant(value))
            }
            _ => None,
        }
    }

    fn matched(
        &self,
        kind: Match,
        of: &'a Expr,
        pattern: Option<&str>,
        instead: Instead<'a>,
    ) -> Result<Test<'a>, Fault> {
        let matcher = Matcher::new(kind, pattern);
        if let (Expr::Column(column), Matcher::Wild(wild)) = (of, &matcher)
            && let Packed::Texts(texts, valid) = self.packed(column, instead)
            && let Some(searcher) = Searcher::new(&wild.literal(), wild.folds())
        {
            return Ok(Test::Search(texts, valid, searcher.into(), wild.clone()));
        }
        Ok(Test::Match(self.node_of(of, instead)?, matcher))
    }

    fn items(&self, list: &'a [Expr], instead: Instead<'a>) -> Result<Items<'a>, Fault> {
        let constants: Option<Vec<Val<'static>>> = list
            .iter()
            .map(|item| match item {
                Expr::Value(value) => Some(constant(value)),
                _ => None,
            })
            .collect();
        Ok(match constants {
            Some(values) => {
                let things = values.iter().filter_map(Thing::of).collect();
                Items::Known(things, values.iter().any(Val::is_null))
            }
            None => Items::Any(self.nodes(list, instead)?),
        })
    }

    fn nodes(&self, exprs: &'a [Expr], instead: Instead<'a>) -> Result<Vec<Node<'a>>, Fault> {
        exprs.iter().map(|expr| self.node_of(expr, instead)).collect()
    }

    fn node_of(&self, expr: &'a Expr, instead: Instead<'a>) -> Result<Node<'a>, Fault> {
        let node = |expr: &'a Expr| self.node_of(expr, instead).map(Box::new);
        if let Some(values) = self.given.and_then(|given| given.of(expr)) {
            return Ok(Node::Given(values));
        }
        Ok(match expr {
            Expr::Column(column) => Node::Column(self.packed(column, instead)),
            Expr::Part(_, part, column) => Node::Part(*part, self.packed(column, instead)),
            Expr::Value(value) => Node::Constant(constant(value)),
            Expr::Rand(column) => Node::Rand(self.packed(column, instead)),
            Expr::Minus(of) => Node::Minus(node(of)?),
            Expr::Arithmetic(operation, a, b) => Node::Arithmetic(*operation, node(a)?, node(b)?),
            Expr::Call(Function::Contains, arguments) => {
                let item = match arguments[0].kind() {
                    Type::List(item) => item.clone(),
                    _ => ValueType::Json,
                };
                Node::Call(Function::Contains, self.nodes(arguments, instead)?, item)
            }
            Expr::Call(function, arguments) => {
                let counted = match arguments[0].kind() {
                    Type::List(item) => ValueType::List(item.clone().into()),
                    Type::Json => ValueType::Json,
                    _ => ValueType::Text,
                };
                Node::Call(*function, self.nodes(arguments, instead)?, counted)
            }
            Expr::Distance(metric, column, target) => {
                let to = self.columns.target(column, target).ok_or(Fault::NoTarget)?;
                match self.packed(column, instead) {
                    Packed::Vectors(vectors, valid) => {
                        Node::Distance(*metric, Some(vectors), valid, to)
                    }
                    _ => Node::Distance(*metric, None, Valid::ALL, to),
                }
            }
            Expr::Item(of, index, value) => Node::Item(node(of)?, *index, value.clone()),
            Expr::Field(of, key, value) => Node::Field(node(of)?, key.clone(), value.clone()),
            // An item is always given inside its `any`.
            Expr::Element(..) => Node::Constant(Val::Null),
            _ => Node::Test(self.test_of(expr, instead)?.into()),
        })
    }
}

impl Test<'_> {
    /// The approximate cost per row, in units of reading one number.
    fn cost(&self) -> u32 {
        match self {
            Self::Constant(_) => 0,
            Self::Valid(_) | Self::Bools(..) | Self::Narrow(..) => 1,
            Self::Range(..) | Self::Floats(..) => 2,
            Self::Words(..) | Self::Equal(..) => 3,
            Self::Search(..) => 10,
            Self::Not(of) => of.cost(),
            Self::And(terms) | Self::Or(terms) => {
                terms.iter().fold(0, |sum, term| sum.saturating_add(term.cost()))
            }
            Self::Match(_, Matcher::Regexp(_)) => 200,
            Self::Any(_) => 500,
            _ => 50,
        }
    }
}

/// The test for an absent Optional model: its tag is NULL or not 0.
fn absent<'a>(valid: Valid<'a>, is_zero: Test<'a>) -> Test<'a> {
    Test::Not(Test::And(vec![Test::Valid(valid), is_zero]).into())
}

fn constant(value: &Value) -> Val<'static> {
    match value {
        Value::Null => Val::Null,
        Value::Bool(is) => Val::Int((*is).into()),
        Value::Int(n) => Val::Int(*n),
        Value::Real(x) => Val::Real(*x),
        Value::Text(text) => Val::Text(text.clone().into_bytes().into()),
        Value::Time(time) => Val::Int(time.micros()),
    }
}
