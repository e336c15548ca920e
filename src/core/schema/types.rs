//! The grammar of type texts: `int`, `Optional[BBox@v1]`, `dict[str, list[float]]`.
//!
//! ```text
//! type := name | name "[" type { "," type } "]"
//! name := any characters but "[", "]" and ","
//! ```
//!
//! A text that does not fit is not a type: callers keep it as it is.

/// The deepest brackets read; DataChain's own texts stay below five.
const DEEPEST: usize = 64;

/// A parsed type text. Borrows from it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Type<'a> {
    /// `int`, `BBox@v1`, `...`.
    Name(&'a str),
    /// `list[T]`, `dict[K, V]`, `Union[A, B]`: the name and its arguments, at least one.
    Of(&'a str, Vec<Type<'a>>),
}

impl<'a> Type<'a> {
    /// Parses a type text; `None` if it does not fit the grammar.
    pub fn parse(text: &'a str) -> Option<Self> {
        let (found, rest) = parse(text, DEEPEST)?;
        rest.trim().is_empty().then_some(found)
    }

    /// The type of a value that is not NULL, and whether it may be NULL: `Optional[T]` and
    /// `Union[T, NoneType]` are `T` and `true`.
    pub fn unwrap_optional(&self) -> (&Self, bool) {
        let inner = match self {
            Self::Of("Optional", of) => &of[..],
            Self::Of("Union", of) => &of[..],
            _ => return (self, false),
        };
        let mut present = inner.iter().filter(|t| !t.is_none());
        let optional = matches!(self, Self::Of("Optional", _)) || inner.iter().any(Self::is_none);
        match (present.next(), present.next()) {
            (Some(only), None) => (only.unwrap_optional().0, optional),
            _ => (self, optional),
        }
    }

    fn is_none(&self) -> bool {
        matches!(self, Self::Name("NoneType" | "None"))
    }
}

/// Parses one type at the start of `text`; returns it and the rest.
fn parse(text: &str, depth: usize) -> Option<(Type<'_>, &str)> {
    let end = text.find(['[', ']', ',']).unwrap_or(text.len());
    let (name, rest) = (text[..end].trim(), &text[end..]);
    if name.is_empty() || depth == 0 {
        return None;
    }
    let Some(mut rest) = rest.strip_prefix('[') else { return Some((Type::Name(name), rest)) };
    let mut inner = Vec::new();
    loop {
        let (found, after) = parse(rest, depth - 1)?;
        inner.push(found);
        let after = after.trim_start();
        match after.strip_prefix(',') {
            Some(next) => rest = next,
            None => return Some((Type::Of(name, inner), after.strip_prefix(']')?)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use proptest::prelude::*;

    #[test]
    fn reads_what_datachain_writes() {
        use Type::{Name, Of};
        let cases = [
            ("int", Some(Name("int"))),
            (" BBox@v1 ", Some(Name("BBox@v1"))),
            ("list[float]", Some(Of("list", vec![Name("float")]))),
            ("dict[str, int]", Some(Of("dict", vec![Name("str"), Name("int")]))),
            ("tuple[int, ...]", Some(Of("tuple", vec![Name("int"), Name("...")]))),
            ("Optional[list[A@v1]]", Some(Of("Optional", vec![Of("list", vec![Name("A@v1")])]))),
            ("", None),
            ("list[", None),
            ("list[]", None),
            ("list[int", None),
            ("list[int]]", None),
            ("list[int]x", None),
            ("a,b", None),
        ];
        for (text, want) in cases {
            assert_eq!(Type::parse(text), want, "{text}");
        }
    }

    #[test]
    fn sees_through_what_only_says_that_null_is_allowed() {
        let cases = [
            ("int", "int", false),
            ("Optional[int]", "int", true),
            ("Union[int, NoneType]", "int", true),
            ("Union[None, BBox@v1]", "BBox@v1", true),
            ("Optional[Optional[int]]", "int", true),
            ("Union[dict, list[dict], NoneType]", "Union[dict, list[dict], NoneType]", true),
            ("Union[int, str]", "Union[int, str]", false),
            ("Optional[NoneType]", "Optional[NoneType]", true),
            ("list[Optional[int]]", "list[Optional[int]]", false),
        ];
        for (text, inner, optional) in cases {
            let whole = Type::parse(text).expect(text);
            let want = Type::parse(inner).expect(inner);
            assert_eq!(whole.unwrap_optional(), (&want, optional), "{text}");
        }
    }

    #[test]
    fn depth_is_bounded() {
        let nest = |n: usize| format!("{}int{}", "list[".repeat(n), "]".repeat(n));
        assert!(Type::parse(&nest(DEEPEST - 1)).is_some());
        assert!(Type::parse(&nest(DEEPEST)).is_none());
        assert!(Type::parse(&"list[".repeat(1_000_000)).is_none());
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "[a-z\\[\\], @\u{e9}]{0,40}") {
            let _ = Type::parse(&text).map(|t| t.unwrap_optional().1);
        }
    }
}
