//! The columns of the new version, and how the version was made that a delta begins with.
//!
//! 1. What `dcfs index` made says in its command which columns were computed, and a version that `dcfs save` made of all rows of
//!    another is like that one. Of what Python made nothing is known but its shape.
//! 2. A delta computes the columns of the last version and no others: other patterns for columns of the same names would
//!    mix two meanings in one column.
//! 3. A selection is no base of a delta: all that was filtered out would be new.

use super::columns::{Columns, With};
use super::{Desk, Request};
use dcfs_core::error::{Error, Kind, Result};
use dcfs_core::schema::Layout;
use dcfs_data::catalog::{Catalog, VersionInfo};

/// Versions that were saved of each other, without a filter, that are followed.
const DEEPEST: usize = 100;

/// The columns, and the shape of the new version: that of the last one, word for word, where there is one.
pub struct Shape {
    pub columns: Columns,
    pub layout: Layout,
    /// Whether the columns are those of the last version, for none were asked for.
    is_inherited: bool,
}

impl Shape {
    /// # Errors
    /// `Invalid`: columns that do not go together, other ones than those of `last`, a selection; what the catalog says.
    pub fn new(desk: &Desk<'_>, request: &Request, last: Option<&VersionInfo>) -> Result<Self> {
        let asked = Columns::new(&request.with)?;
        let Some((catalog, last)) = desk.catalog.as_ref().zip(last) else {
            let layout = asked.layout();
            return Ok(Self { columns: asked, layout, is_inherited: false });
        };
        let layout = catalog.layout(last)?;
        let known = known(catalog, last)?;
        let is_inherited = request.with.is_empty();
        if is_inherited {
            let columns = known.map_or_else(|| guessed(&layout), Ok)?;
            return Self { columns, layout, is_inherited }.checked(last);
        }
        let shape = Self { columns: asked, layout, is_inherited }.checked(last)?;
        match known.filter(|known| *known != shape.columns) {
            Some(known) => Err(other_patterns(last, &known)),
            None => Ok(shape),
        }
    }

    fn checked(self, last: &VersionInfo) -> Result<Self> {
        match self.columns.layout().columns == self.layout.columns {
            true => Ok(self),
            false => Err(other_columns(last, self.is_inherited)),
        }
    }

    /// The request with all that it means in its command, so that the next delta knows it too, and who reads how this was
    /// made.
    pub fn told(&self, request: &Request) -> Request {
        let mut request = request.clone();
        if self.is_inherited {
            request.provenance.command.extend(words(&self.columns));
        }
        request
    }
}

/// Columns as they are typed.
fn words(columns: &Columns) -> impl Iterator<Item = String> {
    let wishes = columns.wishes().into_iter();
    wishes.flat_map(|wish| ["--with".to_owned(), wish.text()])
}

fn other_columns(last: &VersionInfo, is_inherited: bool) -> Error {
    let message = match is_inherited {
        false => format!(
            "`{last}` has other columns than those asked for; leave `--with` out to compute its own, or `--delta` to \
             compute all of them anew"
        ),
        true => format!(
            "`{last}` has columns, and it is not known how `dcfs index` would compute them; say `--with` as it was said \
             for them, or, where Python made them, save under another name"
        ),
    };
    Error::new(Kind::Invalid, message)
}

fn other_patterns(last: &VersionInfo, known: &Columns) -> Error {
    let message = format!(
        "the columns of `{last}` were computed otherwise, by `{}`; leave `--with` out to go on so, or `--delta` to compute \
         all of them anew",
        words(known).collect::<Vec<_>>().join(" ")
    );
    Error::new(Kind::Invalid, message)
}

/// The columns of a version, as the command that made it asked for them; `None` where nothing says so.
fn known(catalog: &Catalog, last: &VersionInfo) -> Result<Option<Columns>> {
    let Some(command) = made(catalog, last)? else { return Ok(None) };
    let wishes: Vec<With> = wished(&command).filter_map(|wish| wish.parse().ok()).collect();
    match wishes.is_empty() {
        true => Ok(None),
        false => Columns::new(&wishes).map(Some),
    }
}

/// The `dcfs index` that made a version, or the one that it has all rows of; `None` where it is not known.
///
/// # Errors
/// `Invalid` of a selection.
fn made(catalog: &Catalog, last: &VersionInfo) -> Result<Option<Vec<String>>> {
    let mut of = last.clone();
    for _ in 0..DEEPEST {
        let Some(by) = catalog.details(&of)?.provenance else { return Ok(None) };
        if by.filter.is_some() {
            return Err(selection(&of));
        }
        match by.command.get(1).map(String::as_str) {
            Some("index") => return Ok(Some(by.command)),
            Some("save") => {}
            _ => return Ok(None),
        }
        match parent(catalog, &of)? {
            Some(parent) => of = parent,
            None => return Ok(None),
        }
    }
    Ok(None)
}

fn selection(of: &VersionInfo) -> Error {
    let message = format!(
        "`{of}` is a selection made by `dcfs save ... --where`, and `--delta` would add all that was filtered out; save \
         under another name, or leave `--delta` out"
    );
    Error::new(Kind::Invalid, message)
}

/// The one version that another was made of, if it is still there.
fn parent(catalog: &Catalog, of: &VersionInfo) -> Result<Option<VersionInfo>> {
    let parents = catalog.parents(of.id)?;
    let [parent] = &parents[..] else { return Ok(None) };
    let mut versions = catalog.versions()?.into_iter();
    Ok(versions.find(|version| Some(version.id) == parent.id))
}

/// The columns that a shape tells.
fn guessed(layout: &Layout) -> Result<Columns> {
    let has_image = layout.columns.iter().any(|column| column.name == "info__width");
    Columns::new(if has_image { &[With::Image] } else { &[] })
}

/// The values of `--with` in a command line.
fn wished(command: &[String]) -> impl Iterator<Item = &str> {
    let mut words = command.iter();
    std::iter::from_fn(move || {
        loop {
            let word = words.next()?;
            if word == "--with" {
                return words.next().map(String::as_str);
            }
            if let Some(value) = word.strip_prefix("--with=") {
                return Some(value);
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wishes_are_found_in_a_command() {
        let words = ["dcfs", "index", "--with", "image", "x", "--with=path:{a}", "--with"];
        let words = words.map(str::to_owned);
        assert_eq!(wished(&words).collect::<Vec<_>>(), ["image", "path:{a}"]);
    }
}
