//! A row passed to a program, and its result.

use std::io::Write as _;
use std::os::unix::ffi::OsStrExt as _;

use dcfs_core::answer;
use dcfs_core::error::{Error, Kind};
use dcfs_core::id::RowId;
use dcfs_core::json;
use dcfs_core::object::Object;
use dcfs_core::render::rows::json::string;
use dcfs_core::schema::Signal;
use dcfs_data::runs::Answer;
use tokio::sync::OwnedSemaphorePermit;

use super::local::{self, Local};

/// A row that is ready: its file has been fetched.
#[derive(Debug)]
pub struct Task {
    pub id: RowId,
    /// One, or those of a group.
    pub objects: Vec<Object>,
    /// The requested columns, as a JSON object.
    pub columns: Vec<u8>,
    /// The files of the objects, in order; empty if the program needs none.
    pub files: Vec<Local>,
    /// The name of the group, if it stands for one: its columns are lists then.
    pub group: Option<String>,
    /// The number of failed attempts.
    pub tries: u32,
    /// Its share of the prefetch budget.
    pub _room: Option<OwnedSemaphorePermit>,
}

/// The result of a row.
#[derive(Debug)]
pub struct Done {
    pub id: RowId,
    pub answer: Answer,
    /// The size of its file in bytes.
    pub bytes: u64,
    /// The kind of error, if the store failed.
    pub store: Option<Kind>,
}

impl Task {
    /// Marks it as taken by a program: others may be prefetched in its place.
    pub fn taken(self) -> Self {
        Self { _room: None, ..self }
    }

    /// The address of its object; `row 7` if it has none; the name of a group.
    pub fn label(&self) -> String {
        match (&self.group, &self.objects[..]) {
            (Some(name), _) => name.clone(),
            (None, [object, ..]) => dcfs_store::label(object),
            (None, []) => format!("row {}", self.id),
        }
    }

    /// Appends the request for a worker, without the line break.
    pub fn request(&self, out: &mut Vec<u8>) {
        // Writing to memory cannot fail.
        write!(out, "{{\"id\":{}", self.id.key()).ok();
        let mut files = self.objects.iter().zip(&self.files);
        if self.group.is_some() {
            out.extend_from_slice(b",\"group\":true,\"files\":[");
            for (at, (object, file)) in files.enumerate() {
                if at > 0 {
                    out.push(b',');
                }
                told(out, object, file);
            }
            out.push(b']');
        } else if let Some((object, file)) = files.next() {
            out.extend_from_slice(b",\"file\":");
            told(out, object, file);
        }
        out.extend_from_slice(b",\"row\":");
        out.extend_from_slice(if self.columns.is_empty() { b"{}" } else { &self.columns });
        out.push(b'}');
    }

    /// A column of the row by its dotted name, as text.
    pub fn column(&self, name: &str) -> Option<String> {
        let found = field(&self.columns, name, self.group.is_some())?;
        json::text(&found).or_else(|| Some(String::from_utf8_lossy(&found).into_owned()))
    }

    /// Gives it this answer, if valid: of the declared types, and for bytes that are still those of
    /// the row.
    pub fn answered(self, types: &Types, value: Vec<u8>) -> Done {
        let checked = match self.files.iter().try_for_each(Local::compare) {
            Err(changed) => Err(changed.to_string()),
            Ok(()) => types.check(&value).map_err(|wrong| wrong.to_string()),
        };
        match checked {
            Ok(()) => self.done(Answer::Value(value), None),
            Err(why) => self.failed(&why),
        }
    }

    /// Gives it an error instead of an answer.
    pub fn failed(self, why: &str) -> Done {
        let why = format!("{}: {why}", self.label());
        self.done(Answer::Error(why), None)
    }

    /// Gives it the error that its file could not be fetched.
    pub fn unread(self, error: &Error) -> Done {
        let why = error.to_string();
        let label = self.label();
        let why = if why.contains(&label) { why } else { format!("{label}: {why}") };
        self.done(Answer::Error(why), Some(error.kind()))
    }

    fn done(self, answer: Answer, store: Option<Kind>) -> Done {
        let fetched = self.objects.iter().zip(&self.files);
        let bytes = fetched.map(|(object, _)| object.size.unwrap_or(0)).sum();
        Done { id: self.id, answer, bytes, store }
    }
}

/// The value of the dotted `name` in a JSON object; for a group, whose columns are lists, in each
/// item.
fn field(text: &[u8], name: &str, is_group: bool) -> Option<Vec<u8>> {
    if name.is_empty() {
        return Some(text.to_vec());
    }
    if let Some(items) = json::items(text).filter(|_| is_group) {
        let each = items.into_iter().map(|item| field(item, name, false));
        // An absent model has no fields.
        let each: Vec<Vec<u8>> =
            each.map(|value| value.unwrap_or_else(|| b"null".into())).collect();
        return Some([b"[", &each.join(&b","[..])[..], b"]"].concat());
    }
    let (key, value) = json::fields(text)?.into_iter().find(|(key, _)| {
        name == key || name.strip_prefix(key.as_str()).is_some_and(|more| more.starts_with('.'))
    })?;
    field(value, name[key.len()..].trim_start_matches('.'), is_group)
}

/// Appends the description of a file for a worker: a JSON object.
fn told(out: &mut Vec<u8>, object: &Object, file: &Local) {
    let (name, uri) = (local::name(object), object.to_string());
    let fields: [(&[u8], &[u8]); 7] = [
        (b"{\"path\":", file.path.as_os_str().as_bytes()),
        (b",\"name\":", name.as_bytes()),
        (b",\"uri\":", uri.as_bytes()),
        (b",\"source\":", object.source.as_bytes()),
        (b",\"key\":", &object.path),
        (b",\"etag\":", object.etag.as_bytes()),
        (b",\"version\":", object.version.as_bytes()),
    ];
    for (key, value) in fields {
        out.extend_from_slice(key);
        string(out, value);
    }
    write!(out, ",\"size\":{}}}", object.size.unwrap_or(0)).ok();
}

/// The expected types of answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Types {
    pub signals: Vec<Signal>,
    /// Whether an answer is a list of values.
    pub is_many: bool,
}

impl Types {
    /// Checks that an answer is of these types.
    ///
    /// # Errors
    /// The first mismatch.
    pub fn check(&self, value: &[u8]) -> Result<(), answer::Wrong> {
        if !self.is_many {
            return answer::cells(&self.signals, value).map(drop);
        }
        let items = json::items(value).ok_or_else(|| {
            answer::Wrong::NoJson(
                String::from_utf8_lossy(&value[..value.len().min(80)]).into_owned(),
            )
        })?;
        items.into_iter().try_for_each(|item| answer::cells(&self.signals, item).map(drop))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task(columns: &str) -> Task {
        let columns = columns.as_bytes().to_vec();
        let (objects, files) = (Vec::new(), Vec::new());
        Task { id: RowId::new(-3), objects, columns, files, group: None, tries: 0, _room: None }
    }

    #[test]
    fn a_row_is_a_line_of_json() {
        let mut out = Vec::new();
        task("{\"a\":{\"b\":1}}").request(&mut out);
        assert_eq!(String::from_utf8_lossy(&out), "{\"id\":-3,\"row\":{\"a\":{\"b\":1}}}");
    }

    #[test]
    fn columns_are_found_by_their_dotted_names() {
        let task = task("{\"a\":{\"b\":1,\"c d\":\"x\\ny\"},\"e\":[1,2]}");
        let cases =
            [("a.b", Some("1")), ("a.c d", Some("x\ny")), ("e", Some("[1,2]")), ("z", None)];
        for (name, want) in cases {
            assert_eq!(task.column(name).as_deref(), want, "{name}");
        }
        let group = Task {
            group: Some("x".into()),
            ..self::task("{\"a\":[{\"b\":1},null,{\"b\":2}],\"e\":[[1],[2]]}")
        };
        assert_eq!(group.column("a.b").as_deref(), Some("[1,null,2]"));
        assert_eq!(group.column("e").as_deref(), Some("[[1],[2]]"));
    }
}
