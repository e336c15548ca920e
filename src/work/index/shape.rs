//! The columns of the new version, and how the version before it was made.
//!
//! 1. A version made by `dcfs index` has a recipe: the columns that were computed. (An earlier dcfs
//!    recorded them only in the command.) A version that `dcfs save` made of another has that
//!    one's. Of one made by Python only the shape is known.
//! 2. A delta computes exactly the columns of the last version: different patterns for columns of
//!    the same names would mix two meanings in one column.
//! 3. A selection is no base for a delta: everything filtered out would look new.
//! 4. If no columns are requested, those of the last version are computed again, because losing
//!    columns would break readers. If its recipe is unknown, the user has to choose.

use serde::{Deserialize, Serialize};

use super::columns::{Columns, With};
use super::{Desk, Request};
use dcfs_core::error::{Error, Kind, Result};
use dcfs_core::provenance::Provenance;
use dcfs_core::schema::Layout;
use dcfs_data::catalog::{Catalog, VersionInfo};

/// The longest chain of versions that were saved from each other without a filter.
const DEEPEST: usize = 100;

/// The columns and the shape of the new version: exactly that of the last one, if there is one.
pub struct Shape {
    pub columns: Columns,
    pub layout: Layout,
    /// The version whose columns are used because none were requested.
    inherited: Option<VersionInfo>,
}

impl Shape {
    /// # Errors
    /// `Invalid`: conflicting columns, columns that differ from those of `last`, a selection;
    /// errors of the catalog.
    pub fn new(desk: &Desk<'_>, request: &Request, last: Option<&VersionInfo>) -> Result<Self> {
        let asked = Columns::new(&request.with)?;
        let Some((catalog, last)) = desk.catalog.as_ref().zip(last) else {
            let before = match &desk.catalog {
                Some(catalog) if request.with.is_empty() => {
                    catalog.latest(&request.name)?.map(|before| (catalog, before))
                }
                _ => None,
            };
            return match before {
                Some((catalog, before)) => Self::again(catalog, before),
                None => Ok(Self::anew(asked, None)),
            };
        };
        let layout = catalog.layout(last)?;
        let made = Made::of(catalog, last)?;
        if let Some(selected) = &made.selection {
            return Err(selection(selected));
        }
        let known = known(&made)?;
        if request.with.is_empty() {
            let columns = known.map_or_else(|| guessed(&layout), Ok)?;
            return Self { columns, layout, inherited: Some(last.clone()) }.checked(last);
        }
        let shape = Self { columns: asked, layout, inherited: None }.checked(last)?;
        match known.filter(|known| *known != shape.columns) {
            Some(known) => Err(other_patterns(last, &known)),
            None => Ok(shape),
        }
    }

    fn anew(columns: Columns, inherited: Option<VersionInfo>) -> Self {
        Self { layout: columns.layout(), columns, inherited }
    }

    /// The columns of `before`, computed again for all rows.
    fn again(catalog: &Catalog, before: VersionInfo) -> Result<Self> {
        if let Some(columns) = known(&Made::of(catalog, &before)?)? {
            let inherited = (!columns.is_empty()).then_some(before);
            return Ok(Self::anew(columns, inherited));
        }
        let layout = catalog.layout(&before)?;
        let columns = guessed(&layout)?;
        match columns.layout().columns == layout.columns {
            true if columns.is_empty() => Ok(Self::anew(columns, None)),
            true => Ok(Self::anew(columns, Some(before))),
            false => Err(unknown_columns(&before)),
        }
    }

    fn checked(self, last: &VersionInfo) -> Result<Self> {
        match self.columns.layout().columns == self.layout.columns {
            true => Ok(self),
            false => Err(other_columns(last, self.inherited.is_some())),
        }
    }

    /// The version whose columns are used because none were requested, and the columns as typed.
    pub fn kept(&self) -> Option<KeptColumns> {
        let of = self.inherited.as_ref()?.to_string();
        Some(KeptColumns { of, with: self.columns.wishes().iter().map(With::text).collect() })
    }

    /// The request with its recipe, which the next index reads, and with inherited columns in its
    /// command, for people who read how this was made.
    pub fn told(&self, request: &Request) -> Request {
        let mut request = request.clone();
        if self.inherited.is_some() {
            request.provenance.command.extend(words(&self.columns));
        }
        let with = self.columns.wishes().iter().map(With::text).collect();
        request.provenance.recipe = serde_json::to_value(Recipe { kind: INDEX.into(), with }).ok();
        request
    }
}

/// The kind of recipe of `dcfs index`.
pub const INDEX: &str = "index";

/// How a version was made, for the next index of the same name.
#[derive(Debug, Serialize, Deserialize)]
struct Recipe {
    kind: String,
    /// The computed columns, as typed after `--with`.
    with: Vec<String>,
}

/// Columns that were not requested: those of the version before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct KeptColumns {
    /// That version.
    pub of: String,
    /// The columns, as typed after `--with`.
    pub with: Vec<String>,
}

/// Columns as typed.
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
            "`{last}` has columns, and it is not known how `dcfs index` would compute them; repeat the `--with` that they were made with or, if Python made them, save under another name"
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

/// The requested columns of the `dcfs index` that made a version's rows; `None` if not recorded.
fn known(made: &Made) -> Result<Option<Columns>> {
    let Some(by) = &made.by else { return Ok(None) };
    let recipe = by.recipe.clone().and_then(|told| serde_json::from_value::<Recipe>(told).ok());
    if let Some(recipe) = recipe.filter(|recipe| recipe.kind == INDEX) {
        return recipe_columns(recipe.with.iter().map(String::as_str)).map(Some);
    }
    let columns = recipe_columns(wished(&by.command))?;
    Ok((!columns.is_empty()).then_some(columns))
}

/// Parses columns as typed; unknown ones are left out.
fn recipe_columns<'w>(words: impl Iterator<Item = &'w str>) -> Result<Columns> {
    Columns::new(&words.filter_map(|wish| wish.parse().ok()).collect::<Vec<With>>())
}

/// How the rows of a version were made.
#[derive(Debug, Default)]
struct Made {
    /// The `dcfs index` that made them; `None` if unknown.
    by: Option<Provenance>,
    /// The first version on the way there that was selected by a filter.
    selection: Option<VersionInfo>,
}

impl Made {
    /// Follows the versions that were saved from each other.
    fn of(catalog: &Catalog, last: &VersionInfo) -> Result<Self> {
        let (mut made, mut of) = (Self::default(), last.clone());
        for _ in 0..DEEPEST {
            let Some(by) = catalog.details(&of)?.provenance else { break };
            if by.filter.is_some() && made.selection.is_none() {
                made.selection = Some(of.clone());
            }
            match by.operation() {
                Some(INDEX) => {
                    made.by = Some(by);
                    break;
                }
                Some("save") => {}
                _ => break,
            }
            match parent(catalog, &of)? {
                Some(parent) => of = parent,
                None => break,
            }
        }
        Ok(made)
    }
}

fn unknown_columns(before: &VersionInfo) -> Error {
    let message = format!(
        "`{before}` has columns, and it is not known how `dcfs index` would compute them; give `--with` for each column to compute, or `--with none` to save a version without them"
    );
    Error::new(Kind::Invalid, message)
}

fn selection(of: &VersionInfo) -> Error {
    let message = format!(
        "`{of}` is a selection made by `dcfs save ... --where`, and `--delta` would add all that was filtered out; save \
         under another name, or leave `--delta` out"
    );
    Error::new(Kind::Invalid, message)
}

/// The single version that another was made of, if it still exists.
fn parent(catalog: &Catalog, of: &VersionInfo) -> Result<Option<VersionInfo>> {
    let parents = catalog.parents(of.id)?;
    let [parent] = &parents[..] else { return Ok(None) };
    let mut versions = catalog.versions()?.into_iter();
    Ok(versions.find(|version| Some(version.id) == parent.id))
}

/// The columns suggested by a shape.
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
