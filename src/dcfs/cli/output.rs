//! Stdout: text made safe for a terminal, JSON, and pipes that close early.

use std::fmt;
use std::fs::File;
use std::io::{self, BufWriter, IsTerminal, Write};

use serde::Serialize;

use dcfs_core::error::{Error, Kind, Result};
use dcfs_core::render::stranger::is_obeyed;
pub use dcfs_core::render::stranger::on_terminal as sanitized;

/// The destination of results.
pub struct Output {
    to: BufWriter<Box<dyn Write + Send>>,
    closed: bool,
    failed: bool,
    /// Whether a person is reading.
    is_terminal: bool,
}

impl Output {
    /// The program's stdout.
    pub fn stdout() -> Self {
        let is_terminal = io::stdout().is_terminal();
        Self { is_terminal, ..Self::to(Box::new(io::stdout())) }
    }

    fn to(to: Box<dyn Write + Send>) -> Self {
        Self { to: BufWriter::new(to), closed: false, failed: false, is_terminal: false }
    }

    /// A file that a command writes instead of stdout.
    pub fn file(file: &File) -> Result<Self> {
        let file = file.try_clone().map_err(|error| Error::new(Kind::Broken, error))?;
        Ok(Self::to(Box::new(file)))
    }

    /// For a caller that wants no results.
    pub fn nowhere() -> Self {
        Self::to(Box::new(io::sink()))
    }

    /// Prints one line; terminal control characters are made visible.
    pub fn line(&mut self, text: impl fmt::Display) -> Result<()> {
        let text = sanitized(&text.to_string());
        self.raw(text.as_bytes()).and_then(|()| self.raw(b"\n"))
    }

    /// Prints a page or a table: line breaks stay, other control characters are made visible.
    pub fn text(&mut self, text: &str) -> Result<()> {
        self.raw(sanitized(text).as_bytes())
    }

    /// Prints a value as indented JSON.
    pub fn json(&mut self, value: &impl Serialize) -> Result<()> {
        let text = serde_json::to_string_pretty(value).map_err(|e| Error::new(Kind::Broken, e))?;
        self.json_text(&text)?;
        self.raw(b"\n")
    }

    /// Prints a value as a line of JSON.
    pub fn json_line(&mut self, value: &impl Serialize) -> Result<()> {
        let text = serde_json::to_string(value).map_err(|e| Error::new(Kind::Broken, e))?;
        self.json_text(&text)?;
        self.raw(b"\n")?;
        self.flush()
    }

    /// Prints text that is JSON already. Terminal control characters become JSON escapes, so that programs read
    /// the original value.
    pub fn json_text(&mut self, text: &str) -> Result<()> {
        let mut safe = String::with_capacity(text.len());
        for c in text.chars() {
            // Only inside strings: JSON allows them nowhere else. Beyond the basic plane it takes two UTF-16
            // units.
            if is_obeyed(c) {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    safe += &format!("\\u{unit:04x}");
                }
            } else {
                safe.push(c);
            }
        }
        self.raw(safe.as_bytes())
    }

    /// Prints a row of a table: verbatim for a program, escaped for a terminal.
    pub fn row(&mut self, text: &[u8]) -> Result<()> {
        match self.is_terminal {
            true => self.text(&String::from_utf8_lossy(text)),
            false => self.raw(text),
        }
    }

    /// The same for a row in JSON, which stays valid JSON on a terminal.
    pub fn json_row(&mut self, text: &[u8]) -> Result<()> {
        match self.is_terminal {
            true => self.json_text(&String::from_utf8_lossy(text)),
            false => self.raw(text),
        }
    }

    /// Writes bytes verbatim.
    pub fn raw(&mut self, bytes: &[u8]) -> Result<()> {
        let written = self.to.write_all(bytes);
        self.check(written)
    }

    /// Writes out what is held back.
    pub fn flush(&mut self) -> Result<()> {
        let flushed = self.to.flush();
        self.check(flushed)
    }

    /// Whether the reader has closed the pipe, as `head` does.
    pub fn is_closed(&self) -> bool {
        self.closed
    }

    /// Whether a write has failed.
    pub fn has_failed(&self) -> bool {
        self.failed
    }

    fn check(&mut self, result: io::Result<()>) -> Result<()> {
        self.noted(result).map_err(|error| Error::new(Kind::Broken, error))
    }

    /// Records failures, and a closed pipe.
    fn noted<T>(&mut self, result: io::Result<T>) -> io::Result<T> {
        self.failed |= result.is_err();
        let gone = |error: &io::Error| error.kind() == io::ErrorKind::BrokenPipe;
        self.closed |= result.as_ref().is_err_and(gone);
        result
    }
}

/// Writes bytes verbatim, for callers with formatting of their own.
impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.to.write(bytes);
        self.noted(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        let flushed = self.to.flush();
        self.noted(flushed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::sync::{Arc, Mutex};

    #[test]
    fn json_stays_json() {
        let name = "a\u{202e}b\u{7f}c\u{85}";
        let on_terminal = |work: &dyn Fn(&mut Output)| written(true, work);
        let row = serde_json::to_string(&[name]).expect("JSON");
        let text = on_terminal(&|out| out.json_row(row.as_bytes()).expect("written"));
        assert!(!text.chars().any(is_obeyed), "{text:?}");
        assert_eq!(serde_json::from_str::<Vec<String>>(&text).expect("JSON"), [name]);
        assert_eq!(written(false, &|out| out.json_row(row.as_bytes()).expect("written")), row);
        let text = written(false, &|out| out.json(&[name]).expect("written"));
        assert!(!text.chars().any(is_obeyed), "{text:?}");
        assert_eq!(serde_json::from_str::<Vec<String>>(&text).expect("JSON"), [name]);
    }

    /// The output of `work`.
    fn written(is_terminal: bool, work: &dyn Fn(&mut Output)) -> String {
        let written = Arc::new(Mutex::new(Vec::new()));
        struct Shared(Arc<Mutex<Vec<u8>>>);
        impl Write for Shared {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                self.0.lock().expect("whole").write(bytes)
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let to = BufWriter::new(Box::new(Shared(written.clone())) as Box<dyn Write + Send>);
        let mut out = Output { to, is_terminal, ..Output::nowhere() };
        work(&mut out);
        out.flush().expect("written");
        let bytes = written.lock().expect("whole").clone();
        String::from_utf8(bytes).expect("UTF-8")
    }
}
