//! One process per row: its arguments name the row's file, and its standard output is the answer.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::process::Stdio;

use dcfs_core::error::Result;
use dcfs_core::render::rows::json::string;
use dcfs_core::schema::{Scalar, SignalKind};
use tokio::io::AsyncReadExt;

use super::engine::Shared;
use super::process::{GRACE, Process, Started, ending};
use super::program::invalid;
use super::task::{Done, Task, Types};

/// The most bytes of a row's answer.
pub const LONGEST: usize = 16 << 20;

/// A part of a word.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Plain(Vec<u8>),
    Path,
    /// The path without its extension.
    Stem,
    /// The file name only.
    Name,
    Uri,
    Id,
    Column(String),
}

/// The words of a command, with placeholders that differ from row to row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Words(Vec<Vec<Piece>>);

impl Words {
    /// Parses `{}`, `{.}`, `{/}`, `{uri}`, `{id}` and `{col:NAME}` in words. If no word has a
    /// placeholder and the file is not passed in another way, its path becomes the last word.
    ///
    /// # Errors
    /// An unclosed `{col:`.
    pub fn new(words: &[OsString], adds_path: bool) -> Result<Self> {
        let mut read: Vec<Vec<Piece>> =
            words.iter().map(|word| pieces(word)).collect::<Result<_>>()?;
        let is_any = read.iter().flatten().any(|piece| !matches!(piece, Piece::Plain(_)));
        if adds_path && !is_any {
            read.push(vec![Piece::Path]);
        }
        Ok(Self(read))
    }

    /// Whether the file's bytes are needed.
    pub fn need_file(&self) -> bool {
        let needs = |piece: &Piece| matches!(piece, Piece::Path | Piece::Stem | Piece::Name);
        self.0.iter().flatten().any(needs)
    }

    /// Whether any placeholder refers to the object.
    pub fn name_object(&self) -> bool {
        self.need_file() || self.0.iter().flatten().any(|piece| *piece == Piece::Uri)
    }

    /// The columns in placeholders.
    pub fn columns(&self) -> Vec<String> {
        let column = |piece: &Piece| match piece {
            Piece::Column(name) => Some(name.clone()),
            _ => None,
        };
        self.0.iter().flatten().filter_map(column).collect()
    }

    /// The words for a row.
    fn of(&self, task: &Task) -> Result<Vec<OsString>, String> {
        let mut words = Vec::new();
        for word in &self.0 {
            let is_of_file = |piece: &Piece| {
                matches!(piece, Piece::Path | Piece::Stem | Piece::Name | Piece::Uri)
            };
            // A word with a placeholder for the file is repeated for each file of a group.
            let count = if word.iter().any(is_of_file) { task.objects.len().max(1) } else { 1 };
            for number in 0..count {
                words.push(filled(word, task, number)?);
            }
        }
        Ok(words)
    }
}

fn pieces(word: &OsStr) -> Result<Vec<Piece>> {
    let marks: [(&[u8], Piece); 5] = [
        (b"{}", Piece::Path),
        (b"{.}", Piece::Stem),
        (b"{/}", Piece::Name),
        (b"{uri}", Piece::Uri),
        (b"{id}", Piece::Id),
    ];
    let (mut pieces, mut plain) = (Vec::new(), Vec::new());
    let mut rest = word.as_bytes();
    while let Some(&byte) = rest.first() {
        let known = marks.iter().find(|(mark, _)| rest.starts_with(mark));
        let found = match known {
            Some((mark, piece)) => Some((mark.len(), piece.clone())),
            None if rest.starts_with(b"{col:") => {
                let end = rest.iter().position(|byte| *byte == b'}').ok_or_else(|| {
                    invalid(format!("`{}`: an unclosed `{{col:NAME}}`", word.to_string_lossy()))
                })?;
                let name = String::from_utf8_lossy(&rest[5..end]).into_owned();
                Some((end + 1, Piece::Column(name)))
            }
            None => None,
        };
        match found {
            Some((length, piece)) => {
                if !plain.is_empty() {
                    pieces.push(Piece::Plain(std::mem::take(&mut plain)));
                }
                pieces.push(piece);
                rest = &rest[length..];
            }
            None => {
                plain.push(byte);
                rest = &rest[1..];
            }
        }
    }
    if !plain.is_empty() || pieces.is_empty() {
        pieces.push(Piece::Plain(plain));
    }
    Ok(pieces)
}

/// A word filled in for the file with the index `number`.
fn filled(word: &[Piece], task: &Task, number: usize) -> Result<OsString, String> {
    let path =
        || task.files.get(number).map(|file| file.path.as_path()).ok_or("the row has no file");
    let bytes = |text: &OsStr| text.as_bytes().to_vec();
    let mut all = Vec::new();
    for piece in word {
        all.extend(match piece {
            Piece::Plain(plain) => plain.clone(),
            Piece::Path => bytes(path()?.as_os_str()),
            Piece::Stem => bytes(path()?.with_extension("").as_os_str()),
            Piece::Name => bytes(path()?.file_name().unwrap_or_default()),
            Piece::Uri => {
                task.objects.get(number).map_or_else(String::new, ToString::to_string).into()
            }
            Piece::Id => task.id.key().to_string().into(),
            Piece::Column(name) => {
                task.column(name).ok_or_else(|| format!("the row has no `{name}`"))?.into()
            }
        });
    }
    if all.contains(&0) {
        return Err("a word for the program would hold a NUL byte".into());
    }
    Ok(OsString::from_vec(all))
}

/// Takes rows until there are none, and runs the program for each.
///
/// # Errors
/// The program cannot be started at all.
pub async fn work(shared: &Shared, words: &Words, stdin: bool) -> Result<()> {
    while let Some(mut task) = shared.next().await {
        loop {
            task.tries += 1;
            match once(shared, words, stdin, &task).await? {
                Ok(value) => break shared.done(task.answered(&shared.types, value)).await,
                Err(why) if task.tries >= shared.tries => {
                    break shared.done(failed(task, &why)).await;
                }
                Err(_) => {}
            }
        }
    }
    Ok(())
}

fn failed(task: Task, why: &str) -> Done {
    task.failed(why)
}

/// Runs the program once; returns the answer, or the reason why there is none.
async fn once(
    shared: &Shared,
    words: &Words,
    stdin: bool,
    task: &Task,
) -> Result<Result<Vec<u8>, String>> {
    let words = match words.of(task) {
        Ok(words) => words,
        Err(why) => return Ok(Err(why)),
    };
    let input = match (task.files.first(), stdin) {
        (Some(file), true) => match File::open(&file.path) {
            Ok(file) => Stdio::from(file),
            Err(error) => return Ok(Err(error.to_string())),
        },
        _ => Stdio::null(),
    };
    let mut process = match Process::start(&words, &shared.variables, input, &shared.log)? {
        Started::Well(process) => process,
        Started::TooLong => {
            let why = "it has too many files for one command line; a worker takes any number (`--worker`)";
            return Ok(Err(why.into()));
        }
    };
    let (_, stdout) = process.pipes();
    let Some(stdout) = stdout else { return Ok(Err("the program has no output".into())) };
    // A child of the program may hold the pipe open: killing the group ends it, and the answer.
    let read = tokio::spawn(async move {
        let mut answer = Vec::new();
        stdout.take(LONGEST as u64 + 1).read_to_end(&mut answer).await.ok();
        answer
    });
    let ended = process.ended_by(shared.row_timeout).await;
    let Some(status) = ended else {
        read.abort();
        let limit = shared.row_timeout.unwrap_or_default().as_secs_f64();
        return Ok(Err(format!("took longer than {limit} s (`--row-timeout`)")));
    };
    let Ok(Ok(answer)) = tokio::time::timeout(GRACE, read).await else {
        return Ok(Err("left a process behind that holds its output".into()));
    };
    if answer.len() > LONGEST {
        return Ok(Err(format!("answered more than {} MiB", LONGEST >> 20)));
    }
    match status {
        status if status.success() => Ok(value(&shared.types, &answer)),
        status => {
            Ok(Err(format!("the program ended with {}{}", ending(Some(status)), process.said())))
        }
    }
}

/// Whether a value may itself be a list.
fn is_listed(types: &Types) -> bool {
    matches!(&types.signals[..], [only] if matches!(only.kind, SignalKind::List(_) | SignalKind::Json))
}

/// The output of a program as JSON.
fn value(types: &Types, printed: &[u8]) -> Result<Vec<u8>, String> {
    let text = printed.trim_ascii();
    if types.is_many {
        let is_list = !is_listed(types) && dcfs_core::json::items(text).is_some();
        if is_list {
            return Ok(text.to_vec());
        }
        // One value per line.
        let lines = printed.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        let one = Types { is_many: false, ..types.clone() };
        let values: Vec<Vec<u8>> = lines.map(|line| value(&one, line)).collect::<Result<_, _>>()?;
        return Ok([b"[", &values.join(&b","[..])[..], b"]"].concat());
    }
    if let [only] = &types.signals[..] {
        if matches!(only.kind, SignalKind::Scalar(Scalar::Text | Scalar::Time)) {
            let is_quoted = text.first() == Some(&b'"') && dcfs_core::json::is_valid(text);
            let plain = printed.strip_suffix(b"\n").unwrap_or(printed);
            let mut quoted = Vec::new();
            string(&mut quoted, plain);
            return Ok(if is_quoted { text.to_vec() } else { quoted });
        }
        if text.is_empty() && only.optional {
            return Ok(b"null".to_vec());
        }
    }
    match text.is_empty() {
        true => Err("the program printed nothing".into()),
        false => Ok(text.to_vec()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dcfs_core::schema::signature;

    fn words(words: &[&str], adds_path: bool) -> Words {
        let words: Vec<OsString> = words.iter().map(OsString::from).collect();
        Words::new(&words, adds_path).expect("words")
    }

    #[test]
    fn marks_are_found_in_words() {
        let found = words(&["-o", "{.}.wav", "x{}y{col:info.width}", "{a}"], true);
        let plain = |text: &str| Piece::Plain(text.into());
        let want = vec![
            vec![plain("-o")],
            vec![Piece::Stem, plain(".wav")],
            vec![plain("x"), Piece::Path, plain("y"), Piece::Column("info.width".into())],
            vec![plain("{a}")],
        ];
        assert_eq!(found, Words(want));
        assert_eq!(found.columns(), ["info.width"]);
        assert!(words(&["wc", "-c"], true).need_file() && !words(&["wc"], false).need_file());
        assert_eq!(words(&["{uri}"], true).0.len(), 1, "what names the object needs no path");
        assert!(Words::new(&["{col:x".into()], true).is_err());
    }

    #[test]
    fn what_is_printed_becomes_json() {
        let cases = [
            ("a: float", "3.5\n", Ok("3.5")),
            ("a: str", "one \"two\"\n", Ok("\"one \\\"two\\\"\"")),
            ("a: str", "\"quoted\"\n", Ok("\"quoted\"")),
            ("a: str", "", Ok("\"\"")),
            ("a: float?", "", Ok("null")),
            ("a: float", " \n", Err("the program printed nothing".to_owned())),
            ("a: int, b: int", "{\"a\":1,\"b\":2}\n", Ok("{\"a\":1,\"b\":2}")),
        ];
        for (types, printed, want) in cases {
            let signals = signature::parse(types).expect(types);
            let types = Types { signals, is_many: false };
            let got = value(&types, printed.as_bytes());
            assert_eq!(got, want.map(|text: &str| text.as_bytes().to_vec()), "{printed:?}");
        }
        let many =
            |types| Types { signals: signature::parse(types).expect("types"), is_many: true };
        let cases = [
            ("a: int", "1\n2\n", "[1,2]"),
            ("a: int", "[1, 2]", "[1, 2]"),
            ("a: int", "", "[]"),
            ("a: str", "12:x\n[y\n", "[\"12:x\",\"[y\"]"),
            ("a: json", "[1,2]\n", "[[1,2]]"),
            ("a: list[int]", "[1]\n[2]\n", "[[1],[2]]"),
        ];
        for (types, printed, want) in cases {
            let got = value(&many(types), printed.as_bytes());
            assert_eq!(got, Ok(want.as_bytes().to_vec()), "{printed:?}");
        }
    }
}
