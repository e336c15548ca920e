//! An answer of a tool: text for a person and a model, data for a program, both of bounded length and without
//! invisible characters.

use rmcp::model::{CallToolResult, ContentBlock};
use serde_json::{Map, Value, json};

use dcfs_core::error::Error;
use dcfs_core::render::stranger::{is_obeyed, on_terminal};

/// Limit of an answer in bytes on the wire, text and data together: clients refuse or cut longer ones.
pub const LONGEST: usize = 24 << 10;

/// Bytes reserved for the envelope of text and data.
const AROUND: usize = 512;

/// Limit of one value in characters.
const LONGEST_VALUE: usize = 400;

/// Limit of the items of a list, and keys of an object; of a longer one, the first three are shown.
const LONGEST_LIST: usize = 16;

/// The answer of a tool.
#[derive(Debug, Default)]
pub struct Answer {
    text: String,
    data: Map<String, Value>,
    /// A picture, `(base64, MIME type)`.
    picture: Option<(String, &'static str)>,
}

impl Answer {
    /// An answer without data.
    pub fn text(text: impl Into<String>) -> Self {
        Self { text: text.into(), ..Self::default() }
    }

    /// Adds an entry to the data.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.data.insert(name.to_owned(), value.into());
        self
    }

    /// Adds a picture.
    #[must_use]
    pub fn with_picture(mut self, base64: String, mime: &'static str) -> Self {
        self.picture = Some((base64, mime));
        self
    }

    /// Converts it for the protocol. Text that is too long is cut, and says so; data that is too long is left
    /// out.
    pub fn result(self) -> CallToolResult {
        let mut data = Value::Object(self.data);
        visible(&mut data);
        let is_data = data.as_object().is_some_and(|data| !data.is_empty());
        let taken = if is_data { data.to_string().len() } else { 0 };
        let is_kept = is_data && taken + AROUND < LONGEST;
        let left = LONGEST - AROUND - if is_kept { taken } else { 0 };
        let text = bounded(&on_terminal(&self.text), left);
        let mut content = vec![ContentBlock::text(text)];
        content.extend(self.picture.map(|(base64, mime)| ContentBlock::image(base64, mime)));
        let mut result = CallToolResult::success(content);
        result.structured_content = is_kept.then_some(data);
        result
    }
}

/// An error for the model: the cause, and its position.
pub fn failed(error: &Error) -> CallToolResult {
    let text = bounded(&on_terminal(&error.to_string()), LONGEST / 4);
    CallToolResult::error(vec![ContentBlock::text(text)])
}

/// Items that fit, as text and as data, with the total count.
#[derive(Debug)]
pub struct Fitting {
    text: String,
    items: Vec<Value>,
    left: usize,
    most: usize,
    total: u64,
}

impl Fitting {
    /// For at most `most` items.
    pub fn new(most: usize) -> Self {
        let left = LONGEST - 4 * AROUND;
        Self { text: String::new(), items: Vec::new(), left, most, total: 0 }
    }

    /// Adds a line that is always included.
    pub fn line(&mut self, line: &str) {
        self.left = self.left.saturating_sub(escaped(line));
        self.text += line;
        self.text.push('\n');
    }

    /// Whether another item would be shown.
    pub fn is_open(&self) -> bool {
        self.items.len() < self.most && self.left > 0
    }

    /// Counts an item, and adds it if it fits.
    pub fn item(&mut self, make: impl FnOnce() -> (String, Value)) {
        self.more(1);
        if !self.is_open() {
            return;
        }
        let (line, mut value) = make();
        shorten(&mut value);
        visible(&mut value);
        let line = on_terminal(&line);
        let takes = escaped(&line) + value.to_string().len() + 1;
        match self.left.checked_sub(takes) {
            Some(left) => {
                self.left = left;
                self.text += &line;
                self.text.push('\n');
                self.items.push(value);
            }
            None => self.left = 0,
        }
    }

    /// Counts items that are not shown.
    pub fn more(&mut self, items: u64) {
        self.total += items;
    }

    /// The answer: the items under `name`, their total, and `narrow` as a hint if some are left out.
    pub fn answer(mut self, name: &str, what: &str, narrow: &str) -> Answer {
        let shown = self.items.len() as u64;
        let truncated = shown < self.total;
        self.text += &match truncated {
            true => format!("{shown} of {} {what}; {narrow}\n", self.total),
            false => format!("{} {what}\n", self.total),
        };
        let answer = Answer::text(self.text)
            .with(name, self.items)
            .with(&format!("{name}_total"), self.total)
            .with("truncated", truncated);
        if truncated { answer.with("narrow", narrow) } else { answer }
    }
}

/// Length of `text` in bytes as a JSON string, with its line break.
fn escaped(text: &str) -> usize {
    json!(text).to_string().len() + 1
}

/// The longest prefix of `text` that takes at most `most` bytes as a JSON string.
fn bounded(text: &str, most: usize) -> String {
    if escaped(text) <= most {
        return text.to_owned();
    }
    const CUT: &str = "\n... (cut: ask for less)";
    let mut left = most.saturating_sub(escaped(CUT));
    let end = text.char_indices().find_map(|(at, c)| {
        let takes = escaped(c.encode_utf8(&mut [0; 4])) - escaped("");
        match left.checked_sub(takes) {
            Some(rest) => {
                left = rest;
                None
            }
            None => Some(at),
        }
    });
    format!("{}{CUT}", &text[..end.unwrap_or(text.len())])
}

/// Shortens long texts and long lists, vectors above all.
pub fn shorten(value: &mut Value) {
    match value {
        Value::String(text) => {
            if let Some((at, _)) = text.char_indices().nth(LONGEST_VALUE) {
                text.truncate(at);
                text.push_str("...");
            }
        }
        Value::Array(items) => {
            if items.len() > LONGEST_LIST {
                let more = items.len() - 3;
                items.truncate(3);
                items.push(format!("... {more} more").into());
            }
            items.iter_mut().for_each(shorten);
        }
        Value::Object(fields) => fields.values_mut().for_each(shorten),
        _ => {}
    }
}

/// Escapes invisible characters, and those that change the direction of text.
fn visible(value: &mut Value) {
    match value {
        Value::String(text) if text.chars().any(is_obeyed) => *text = on_terminal(text),
        Value::Array(items) => items.iter_mut().for_each(visible),
        Value::Object(fields) => {
            let hidden = |name: &&String| name.chars().any(is_obeyed);
            let names: Vec<String> = fields.keys().filter(hidden).cloned().collect();
            for name in names {
                if let Some(field) = fields.shift_remove(&name) {
                    fields.insert(on_terminal(&name), field);
                }
            }
            fields.values_mut().for_each(visible);
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn length(result: &CallToolResult) -> usize {
        serde_json::to_string(result).expect("JSON").len()
    }

    #[test]
    fn an_answer_is_bounded_whatever_it_holds() {
        for text in ["x", "\u{0}", "\"", "\u{1f600}", "\n", "\u{202e}"] {
            let long = text.repeat(100_000);
            let answer = Answer::text(long.clone()).with("data", long.clone());
            assert!(length(&answer.result()) <= LONGEST, "{text:?}");
            let error = Error::new(dcfs_core::error::Kind::Invalid, long.clone());
            assert!(length(&failed(&error)) <= LONGEST, "{text:?}");
            let mut fitting = Fitting::new(100);
            fitting.line("head");
            for _ in 0..500 {
                fitting.item(|| (long.chars().take(200).collect(), json!({ "a": long })));
            }
            let answer = fitting.answer("rows", "rows", "add `limit`");
            let result = answer.result();
            assert!(length(&result) <= LONGEST, "{text:?}: {}", length(&result));
            let data = result.structured_content.expect("data");
            assert_eq!((&data["rows_total"], &data["truncated"]), (&json!(500), &json!(true)));
            assert!(data["rows"].as_array().is_some_and(|rows| !rows.is_empty()), "{text:?}");
        }
    }

    #[test]
    fn vectors_and_texts_are_shortened() {
        let mut value = json!({ "emb": vec![0.5; 768], "text": "x".repeat(500), "n": [1, 2] });
        shorten(&mut value);
        assert_eq!(value["emb"], json!([0.5, 0.5, 0.5, "... 765 more"]));
        assert_eq!(value["text"].as_str().map(str::len), Some(403));
        assert_eq!(value["n"], json!([1, 2]));
    }

    #[test]
    fn nothing_is_hidden_in_an_answer() {
        let answer = Answer::text("a\u{202e}b").with("k\u{200b}", json!(["\u{e0041}"]));
        let text = serde_json::to_string(&answer.result()).expect("JSON");
        assert!(!text.chars().any(is_obeyed), "{text}");
        assert!(text.contains(r"a\\u{202e}b") && text.contains(r"\\u{e0041}"), "{text}");
    }
}
