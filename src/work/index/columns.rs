//! Computed columns besides `file`: the request, and the cells of a row.

use std::str::FromStr;

use super::pattern::{self, Pattern, Value};
use crate::image::Image;
use dcfs_core::cell::Cell;
use dcfs_core::error::{Error, Kind, Result};
use dcfs_core::schema::{Layout, Signal, SignalKind};

/// One value of `--with`: `image`, `path:PATTERN`, or `none`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum With {
    /// No column besides `file`, whatever the last version has.
    None,
    Image,
    Path(Pattern),
}

impl FromStr for With {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text.split_once(':') {
            None if text == "image" => Ok(Self::Image),
            None if text == "none" => Ok(Self::None),
            Some(("path", pattern)) => Ok(Self::Path(Pattern::parse(pattern)?)),
            _ => {
                let message = format!(
                    "`{text}` is not a column; write `image` or `path:PATTERN`, e.g. `path:{{label}}/{{name}}`, or `none`"
                );
                Err(Error::new(Kind::Invalid, message))
            }
        }
    }
}

impl With {
    /// The value as typed.
    pub fn text(&self) -> String {
        match self {
            Self::None => "none".into(),
            Self::Image => "image".into(),
            Self::Path(pattern) => format!("path:{}", pattern.text()),
        }
    }
}

/// All requested columns; those of images come first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Columns {
    pub has_image: bool,
    patterns: Vec<Pattern>,
}

impl Columns {
    /// # Errors
    /// Two columns with the same name; `none` beside another value.
    pub fn new(wishes: &[With]) -> Result<Self> {
        if wishes.len() > 1 && wishes.contains(&With::None) {
            let message =
                "`--with none` means no columns, and cannot be combined with another `--with`";
            return Err(Error::new(Kind::Invalid, message));
        }
        let mut columns = Self::default();
        for wish in wishes {
            match wish {
                With::None => {}
                With::Image => columns.has_image = true,
                With::Path(pattern) => columns.patterns.push(pattern.clone()),
            }
        }
        pattern::distinct(&columns.patterns)?;
        Ok(columns)
    }

    /// The values as typed; empty if there are no columns.
    pub fn wishes(&self) -> Vec<With> {
        let image = self.has_image.then_some(With::Image);
        image.into_iter().chain(self.patterns.iter().cloned().map(With::Path)).collect()
    }

    /// Whether there are no columns.
    pub fn is_empty(&self) -> bool {
        !self.has_image && self.patterns.is_empty()
    }

    /// The patterns for paths.
    pub fn patterns(&self) -> &[Pattern] {
        &self.patterns
    }

    /// The shape of a version with these columns.
    pub fn layout(&self) -> Layout {
        let mut signals = vec![Signal::new("file", SignalKind::File)];
        signals.extend(self.has_image.then(|| Signal::optional("info", SignalKind::Image)));
        signals.extend(self.patterns.iter().flat_map(Pattern::signals));
        Layout::of_signals(&signals)
    }

    /// The names of the database columns, in the order of [`Columns::cells`].
    pub fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = Vec::new();
        if self.has_image {
            let parts = ["info___type_tag", "info__width", "info__height", "info__format"];
            names.extend(parts.map(str::to_owned));
        }
        names.extend(self.patterns.iter().flat_map(Pattern::signals).map(|signal| signal.name));
        names
    }

    /// The cells of one row, and whether every pattern matched.
    pub fn cells<'p>(&self, path: &'p str, image: Option<Image>) -> (Vec<Cell<'p>>, bool) {
        let mut cells = Vec::new();
        if self.has_image {
            cells.extend(match image {
                None => [Cell::Integer(1), Cell::Null, Cell::Null, Cell::Null],
                Some(image) => [
                    Cell::Integer(0),
                    Cell::Integer(image.width.into()),
                    Cell::Integer(image.height.into()),
                    Cell::Text(image.format.as_bytes()),
                ],
            });
        }
        let mut is_matched = true;
        for pattern in &self.patterns {
            match pattern.matched(path) {
                Some(values) => cells.extend(values.into_iter().map(cell)),
                None => {
                    is_matched = false;
                    cells.extend(vec![Cell::Null; pattern.width()]);
                }
            }
        }
        (cells, is_matched)
    }
}

fn cell(value: Value<'_>) -> Cell<'_> {
    match value {
        Value::Text(text) => Cell::Text(text.as_bytes()),
        Value::Int(n) => Cell::Integer(n),
        Value::Float(x) => Cell::Real(x),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn columns(wishes: &[&str]) -> Columns {
        let wishes: Vec<With> = wishes.iter().map(|wish| wish.parse().expect(wish)).collect();
        Columns::new(&wishes).expect("columns")
    }

    #[test]
    fn names_and_cells_go_together() {
        for wishes in [
            &[][..],
            &["image"],
            &["path:{a}_{n:int}"],
            &["path:{a}/{b:float}", "image", "path:{c}"],
        ] {
            let columns = columns(wishes);
            let layout: Vec<String> =
                columns.layout().columns.into_iter().map(|c| c.name).collect();
            assert_eq!(layout[8..], columns.names(), "{wishes:?}");
            for path in ["x/1.5", "x_7.jpg", ""] {
                assert_eq!(columns.cells(path, None).0.len(), columns.names().len(), "{wishes:?}");
            }
        }
    }

    #[test]
    fn what_is_not_there_is_null() {
        let columns = columns(&["image", "path:{a}_{n:int}"]);
        let image = Image { width: 3, height: 4, format: "PNG" };
        let (cells, is_matched) = columns.cells("x/pug_7.png", Some(image));
        let want = [
            Cell::Integer(0),
            Cell::Integer(3),
            Cell::Integer(4),
            Cell::Text(b"PNG"),
            Cell::Text(b"pug"),
            Cell::Integer(7),
        ];
        assert_eq!((cells.as_slice(), is_matched), (&want[..], true));
        let (cells, is_matched) = columns.cells("x/pug.png", None);
        let null = Cell::Null;
        assert_eq!(
            (cells.as_slice(), is_matched),
            (&[Cell::Integer(1), null, null, null, null, null][..], false)
        );
    }

    #[test]
    fn wishes_are_read() {
        for wish in ["none", "image", "path:{a}", "path:a:b{c:int}"] {
            assert_eq!(wish.parse::<With>().expect(wish).text(), wish);
        }
        for wish in ["", "images", "path:", "path", "video", "image:x"] {
            assert_eq!(wish.parse::<With>().expect_err(wish).kind(), Kind::Invalid, "{wish}");
        }
        assert!(columns(&["none"]).is_empty());
        let both = Columns::new(&[With::Image, With::None]).expect_err("both");
        assert_eq!(both.kind(), Kind::Invalid);
    }
}
