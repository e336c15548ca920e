//! Fits lines into a budget of bytes: lines that do not fit are left out, with a note that says so.

use dcfs_core::render::numbers::counted;

/// Bytes reserved for the note on what was left out.
const REST: usize = 40;

/// The lines of a section, as many as fit.
#[derive(Debug)]
pub struct Fitted {
    text: String,
    most: usize,
    left_out: u64,
}

impl Fitted {
    /// With a budget of `most` bytes.
    pub const fn new(most: usize) -> Self {
        Self { text: String::new(), most, left_out: 0 }
    }

    /// Adds a line, without its line break, if it fits and no earlier one was left out.
    pub fn line(&mut self, line: &str) {
        let fits = self.text.len() + line.len() + REST < self.most;
        if fits && self.left_out == 0 {
            self.text += line;
            self.text.push('\n');
        } else {
            self.left_out += 1;
        }
    }

    /// The number of lines left out.
    pub const fn left_out(&self) -> u64 {
        self.left_out
    }

    /// The lines without a note.
    pub fn text(self) -> String {
        self.text
    }

    /// The lines, with a note on how many `noun`s were left out.
    pub fn finish(self, noun: &str) -> String {
        match self.left_out {
            0 => self.text,
            n => format!("{}- {} more\n", self.text, counted(n, noun)),
        }
    }
}

/// `## heading`, an empty line and the text; empty if the text is.
pub fn section(heading: &str, text: &str) -> String {
    match text.trim().is_empty() {
        true => String::new(),
        false => format!("## {heading}\n\n{}\n\n", text.trim_end()),
    }
}

/// At most `most` bytes of a text, truncated at the end of a line; and whether it was truncated.
pub fn cut_lines(text: &str, most: usize) -> (&str, bool) {
    if text.len() <= most {
        return (text, false);
    }
    let mut end = most;
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    (&text[..text[..end].rfind('\n').map_or(0, |at| at + 1)], true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_is_said() {
        let mut lines = Fitted::new(60);
        ["- a", "- b", "- ccccccccccccccccccccc", "- d"].iter().for_each(|line| lines.line(line));
        assert_eq!(lines.left_out(), 2);
        assert_eq!(lines.finish("parent"), "- a\n- b\n- 2 parents more\n");
        assert_eq!(section("A", " \n"), "");
        assert_eq!(cut_lines("ab\nc\u{e9}\nd", 5), ("ab\n", true));
        assert_eq!(cut_lines("ab", 5), ("ab", false));
    }
}
