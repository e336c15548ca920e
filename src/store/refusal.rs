//! An error answer of a server.

use std::fmt;

/// The server's answer instead of an object.
#[derive(Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The HTTP status.
    pub status: u16,
    /// The server's own code, such as `NoSuchKey`; empty if it gives none. Safe to print, as is the message.
    pub code: String,
    pub message: String,
}

/// Formats as `404 NoSuchKey (The specified key does not exist.)`.
impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the store answers {}", self.status)?;
        match (self.code.as_str(), self.message.as_str()) {
            ("", "") => Ok(()),
            ("", message) => write!(f, " ({message})"),
            (code, "") => write!(f, " {code}"),
            (code, message) => write!(f, " {code} ({message})"),
        }
    }
}
