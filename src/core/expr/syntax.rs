//! The syntax tree of a filter, before its columns are known.

use super::error::Span;

/// A filter, and its `order by`, `limit` and `offset`.
#[derive(Clone, Debug, PartialEq)]
pub struct Query {
    pub filter: Option<Node>,
    /// The keys, each with whether it is descending.
    pub order: Vec<(Node, bool)>,
    pub limit: Option<u64>,
    pub offset: u64,
}

/// A node of the tree.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    pub kind: Kind,
    pub span: Span,
    /// The nodes on the longest path down, including itself; a name counts one for each of its
    /// parts.
    pub height: usize,
}

/// The kind of a node.
#[derive(Clone, Debug, PartialEq)]
pub enum Kind {
    /// A bare dotted name.
    Name(String),
    /// A name in backquotes.
    Quoted(String),
    Literal(Literal),
    /// Letters, digits, `_`, `.`, `-` right of a comparison: a string if the other side is one,
    /// otherwise the expression they form, if they do.
    Bare(String, Option<Box<Node>>),
    Not(Box<Node>),
    Minus(Box<Node>),
    /// Two or more, none of them [`Kind::And`].
    And(Vec<Node>),
    /// Two or more, none of them [`Kind::Or`].
    Or(Vec<Node>),
    Compare(Comparison, Box<Node>, Box<Node>),
    Arithmetic(Arithmetic, Box<Node>, Box<Node>),
    In(Box<Node>, Vec<Node>),
    Between(Box<Node>, Box<Node>, Box<Node>),
    Match(Match, Box<Node>, Box<Node>),
    IsNull(Box<Node>),
    Call(String, Vec<Node>),
    /// `[1, 2]`
    List(Vec<Node>),
    /// `x[0]`, `x["key"]`
    Index(Box<Node>, Box<Node>),
    /// `x[0].key`
    Member(Box<Node>, String),
}

/// A literal value.
#[derive(Clone, Debug, PartialEq)]
pub enum Literal {
    Null,
    Bool(bool),
    Int(i64),
    /// Never NaN.
    Real(f64),
    Text(String),
}

/// `=` and the other comparisons.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Comparison {
    Equal,
    NotEqual,
    Less,
    AtMost,
    Greater,
    AtLeast,
}

/// An operator that computes a value of two.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Arithmetic {
    Add,
    Subtract,
    Multiply,
    Divide,
    Remainder,
    Concat,
}

/// The kind of pattern that a text is matched with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Match {
    Like,
    Ilike,
    Glob,
    Regexp,
}

impl Kind {
    fn children(&self) -> Vec<&Node> {
        match self {
            Self::Name(_) | Self::Quoted(_) | Self::Literal(_) | Self::Bare(_, None) => Vec::new(),
            Self::Bare(_, Some(a)) | Self::Not(a) | Self::Minus(a) => vec![a],
            Self::IsNull(a) | Self::Member(a, _) => vec![a],
            Self::And(many) | Self::Or(many) | Self::Call(_, many) | Self::List(many) => {
                many.iter().collect()
            }
            Self::Compare(_, a, b) | Self::Arithmetic(_, a, b) => vec![a, b],
            Self::Match(_, a, b) | Self::Index(a, b) => vec![a, b],
            Self::In(a, list) => std::iter::once(&**a).chain(list).collect(),
            Self::Between(a, b, c) => vec![a, b, c],
        }
    }
}

impl Comparison {
    /// The operator as written.
    pub const fn sign(self) -> &'static str {
        match self {
            Self::Equal => "=",
            Self::NotEqual => "!=",
            Self::Less => "<",
            Self::AtMost => "<=",
            Self::Greater => ">",
            Self::AtLeast => ">=",
        }
    }

    pub fn of_sign(sign: &str) -> Option<Self> {
        Some(match sign {
            "=" | "==" => Self::Equal,
            "!=" | "<>" => Self::NotEqual,
            "<" => Self::Less,
            "<=" => Self::AtMost,
            ">" => Self::Greater,
            ">=" => Self::AtLeast,
            _ => return None,
        })
    }

    /// Whether the comparison holds for values in this order.
    pub fn holds(self, order: std::cmp::Ordering) -> bool {
        match self {
            Self::Equal => order.is_eq(),
            Self::NotEqual => order.is_ne(),
            Self::Less => order.is_lt(),
            Self::AtMost => order.is_le(),
            Self::Greater => order.is_gt(),
            Self::AtLeast => order.is_ge(),
        }
    }

    /// The comparison that holds with the two sides exchanged.
    pub const fn mirrored(self) -> Self {
        match self {
            Self::Equal | Self::NotEqual => self,
            Self::Less => Self::Greater,
            Self::AtMost => Self::AtLeast,
            Self::Greater => Self::Less,
            Self::AtLeast => Self::AtMost,
        }
    }
}

impl Arithmetic {
    /// The operator as written.
    pub const fn sign(self) -> &'static str {
        match self {
            Self::Add => "+",
            Self::Subtract => "-",
            Self::Multiply => "*",
            Self::Divide => "/",
            Self::Remainder => "%",
            Self::Concat => "||",
        }
    }

    pub fn of_sign(sign: &str) -> Option<Self> {
        let all = [
            Self::Add,
            Self::Subtract,
            Self::Multiply,
            Self::Divide,
            Self::Remainder,
            Self::Concat,
        ];
        all.into_iter().find(|operation| operation.sign() == sign)
    }
}

impl Match {
    pub const ALL: [Self; 4] = [Self::Like, Self::Ilike, Self::Glob, Self::Regexp];

    /// The operator as written.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Like => "like",
            Self::Ilike => "ilike",
            Self::Glob => "glob",
            Self::Regexp => "regexp",
        }
    }
}

impl Query {
    /// Whether its root is a predicate by form alone, or it has an `order by`, `limit` or `offset`.
    /// A name or a call may still be a predicate: that depends on the columns.
    pub fn is_predicate(&self) -> bool {
        let tail = !self.order.is_empty() || self.limit.is_some() || self.offset > 0;
        tail || self.filter.as_ref().is_some_and(Node::is_predicate)
    }
}

impl Node {
    pub fn new(kind: Kind, span: Span) -> Self {
        let below = match &kind {
            // Each dot may lead into JSON.
            Kind::Name(name) | Kind::Quoted(name) => name.matches('.').count(),
            kind => kind.children().into_iter().map(|child| child.height).max().unwrap_or(0),
        };
        Self { kind, span, height: below + 1 }
    }

    fn is_predicate(&self) -> bool {
        matches!(
            self.kind,
            Kind::Not(_)
                | Kind::And(_)
                | Kind::Or(_)
                | Kind::Compare(..)
                | Kind::In(..)
                | Kind::Between(..)
                | Kind::Match(..)
                | Kind::IsNull(_)
        )
    }
}
