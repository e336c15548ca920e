//! Built-in steps: facts that are often needed of files, computed here.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, BufReader, Read, Seek};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::str::FromStr;

use bytes::Bytes;
use dcfs_core::error::Result;
use dcfs_core::hex::hex;
use dcfs_core::object::Object;
use dcfs_core::schema::{Signal, SignalKind, signature};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::io::AsyncReadExt;

use super::each::LONGEST;
use super::engine::Shared;
use super::process::{GRACE, Process, Started, ending};
use super::tar;
use super::task::Task;
use crate::image::{self, Answer, Pieces, pixels};

/// Bytes read at a time.
const PIECE: usize = 1 << 20;

/// The most reads of one image's header.
const READS: usize = 16;

/// A built-in step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    Hash,
    Text,
    Image,
    ImageAll,
    Media,
    Tar,
}

impl Step {
    /// All steps.
    pub const ALL: [Self; 6] =
        [Self::Hash, Self::Text, Self::Image, Self::ImageAll, Self::Media, Self::Tar];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Hash => "hash",
            Self::Text => "text",
            Self::Image => "image",
            Self::ImageAll => "image:all",
            Self::Media => "media",
            Self::Tar => "tar",
        }
    }

    /// Whether it gives many rows per row: for `dcfs gen`.
    pub const fn is_many(self) -> bool {
        matches!(self, Self::Tar)
    }

    /// Its description, for help.
    pub const fn help(self) -> &'static str {
        match self {
            Self::Hash => "sha256 of the bytes",
            Self::Text => "lines, words, characters and encoding",
            Self::Image => "width and height as displayed, format, orientation",
            Self::ImageAll => "the same, plus mode and perceptual hash of the pixels",
            Self::Media => "seconds, codecs, size, rate, by ffprobe",
            Self::Tar => "members of an archive as files (for `dcfs gen`)",
        }
    }

    /// The types of its answers, as typed.
    const fn out(self) -> &'static str {
        match self {
            Self::Hash => "sha256: str",
            Self::Text => "text: {lines: int, words: int, characters: int, encoding: str}",
            Self::Image => "image: {width: int, height: int, format: str, orientation: int}?",
            Self::ImageAll => {
                "image: {width: int, height: int, format: str, orientation: int, mode: str?, dhash: int?}?"
            }
            Self::Media => {
                "media: {seconds: float?, format: str, bit_rate: int?, video: str?, audio: str?, \
                 width: int?, height: int?, fps: float?}"
            }
            Self::Tar => "file",
        }
    }

    /// The types of its answers.
    ///
    /// # Errors
    /// Never: they are tested.
    pub fn signals(self) -> Result<Vec<Signal>> {
        if self == Self::Tar {
            return Ok(vec![Signal::new("file", SignalKind::File)]);
        }
        Ok(signature::parse(self.out())?)
    }

    /// The part of its identity that may change with a release of dcfs, for the digest of programs.
    pub fn digest(self) -> String {
        hex(&Sha256::digest(format!("step {} 1 {}", self.name(), self.out())))
    }
}

impl FromStr for Step {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|step| step.name() == text);
        found.ok_or_else(|| format!("no step `{text}`"))
    }
}

/// The most small files read by one job of a blocking thread, and their total bytes.
const BUNDLE: usize = 8;
const SMALL: u64 = 1 << 20;

/// Takes rows until there are none.
///
/// # Errors
/// Never: errors of a row belong to that row.
pub async fn work(shared: &Shared, step: Step) -> Result<()> {
    while let Some(first) = shared.next().await {
        if step == Step::Media {
            let answer = match first.files.first() {
                Some(file) => media(shared, &file.path).await,
                None => Err(NO_FILE.into()),
            };
            finish(shared, first, answer).await;
            continue;
        }
        let size = |task: &Task| task.objects.first().and_then(|object| object.size).unwrap_or(0);
        let mut bytes = size(&first);
        let mut tasks = vec![first];
        while tasks.len() < BUNDLE
            && bytes < SMALL
            && let Some(task) = shared.next_now()
        {
            bytes = bytes.saturating_add(size(&task));
            tasks.push(task);
        }
        let of = |task: &Task| {
            (task.files.first().map(|f| f.path.clone()), task.objects.first().cloned())
        };
        let files: Vec<_> = tasks.iter().map(of).collect();
        let answers = tokio::task::spawn_blocking(move || {
            let answer =
                |(path, object): (Option<PathBuf>, Option<Object>)| -> Result<Value, String> {
                    let path = path.ok_or_else(|| NO_FILE.to_owned())?;
                    // Decoders are third-party code: if one panics, the other files of the bundle
                    // still have their answers.
                    let read = AssertUnwindSafe(|| of_file(step, &path, object.as_ref()));
                    catch_unwind(read).unwrap_or_else(|_| Err(PANICKED.to_owned()))
                };
            files.into_iter().map(answer).collect::<Vec<_>>()
        });
        let count = tasks.len();
        let answers = answers.await.unwrap_or_else(|error| vec![Err(error.to_string()); count]);
        for (task, answer) in tasks.into_iter().zip(answers) {
            finish(shared, task, answer).await;
        }
    }
    Ok(())
}

const NO_FILE: &str = "the row names no file";
const PANICKED: &str = "the file could not be read: a decoder failed";

async fn finish(shared: &Shared, task: Task, answer: Result<Value, String>) {
    let done = match answer {
        Ok(value) => task.answered(&shared.types, value.to_string().into()),
        Err(why) => task.failed(&why),
    };
    shared.done(done).await;
}

fn of_file(step: Step, path: &Path, object: Option<&Object>) -> Result<Value, String> {
    let mut file = File::open(path).map_err(|error| error.to_string())?;
    if let (Step::Tar, Some(object)) = (step, object) {
        return tar::members(&file, object).map(Value::from);
    }
    let answer = match step {
        Step::Hash => hash(&mut file),
        Step::Text => text(&mut file),
        Step::ImageAll => picture(&mut file).and_then(|said| looked_through(said, file)),
        _ => picture(&mut file),
    };
    answer.map_err(|error| error.to_string())
}

fn each(file: &mut impl Read, mut each: impl FnMut(&[u8])) -> io::Result<()> {
    let mut piece = vec![0; PIECE];
    loop {
        match file.read(&mut piece)? {
            0 => return Ok(()),
            read => each(&piece[..read]),
        }
    }
}

fn hash(file: &mut impl Read) -> io::Result<Value> {
    let mut hash = Sha256::new();
    each(file, |piece| hash.update(piece))?;
    Ok(Value::from(hex(&hash.finalize())))
}

/// Counts as `wc` does, in one pass; files that are not text are not counted.
fn text(file: &mut impl Read) -> io::Result<Value> {
    let (mut lines, mut words, mut characters) = (0_u64, 0_u64, 0_u64);
    let (mut is_inside, mut is_ascii, mut is_utf8) = (false, true, true);
    let (mut begin, mut is_first, mut has_nul) = ([0_u8; 2], true, false);
    let mut rest: Vec<u8> = Vec::new();
    each(file, |piece| {
        if std::mem::take(&mut is_first) {
            begin = [piece[0], piece.get(1).copied().unwrap_or(0)];
        }
        has_nul |= piece.contains(&0);
        is_ascii &= piece.is_ascii();
        // A character may be split between two pieces.
        rest.extend_from_slice(piece);
        let (valid, left) = match std::str::from_utf8(&rest) {
            Ok(_) => (rest.len(), false),
            Err(error) => (error.valid_up_to(), error.error_len().is_some()),
        };
        is_utf8 &= !left;
        for c in String::from_utf8_lossy(&rest[..valid]).chars() {
            characters += 1;
            lines += u64::from(c == '\n');
            let is_word = !c.is_whitespace();
            words += u64::from(is_word && !is_inside);
            is_inside = is_word;
        }
        rest.drain(..valid);
        if left {
            rest.clear();
        }
    })?;
    is_utf8 &= rest.is_empty();
    let encoding = match () {
        () if matches!(begin, [0xff, 0xfe] | [0xfe, 0xff]) => "utf-16",
        () if has_nul || !is_utf8 => "binary",
        () if is_ascii => "ascii",
        () => "utf-8",
    };
    if matches!(encoding, "binary" | "utf-16") {
        (lines, words, characters) = (0, 0, 0);
    }
    Ok(json!({ "lines": lines, "words": words, "characters": characters, "encoding": encoding }))
}

/// The facts in an image's header; null if the file is not an image.
fn picture(file: &mut File) -> io::Result<Value> {
    use std::os::unix::fs::FileExt;
    let size = file.metadata()?.len();
    let mut pieces = Pieces::new(size);
    let (mut at, mut length) = (0, image::FIRST);
    let mut first = Bytes::new();
    for _ in 0..READS {
        let mut piece = vec![0; usize::try_from(length.min(size.saturating_sub(at))).unwrap_or(0)];
        if piece.is_empty() {
            return Ok(Value::Null);
        }
        file.read_exact_at(&mut piece, at)?;
        let piece = Bytes::from(piece);
        if at == 0 {
            first = piece.clone();
        }
        pieces.add(at, piece);
        match image::look(&pieces) {
            Answer::Is(found) => {
                let orientation = if found.format == "JPEG" { orientation(&first) } else { 1 };
                // From 5 on it is rotated by a quarter turn.
                let (width, height) = match orientation {
                    5..=8 => (found.height, found.width),
                    _ => (found.width, found.height),
                };
                return Ok(json!({
                    "width": width, "height": height, "format": found.format, "orientation": orientation
                }));
            }
            Answer::Needs(next) => (at, length) = (next, image::MORE),
            Answer::No => return Ok(Value::Null),
        }
    }
    Ok(Value::Null)
}

/// Adds facts from the pixels of an image; null if they cannot be decoded.
fn looked_through(mut said: Value, mut file: File) -> io::Result<Value> {
    if let Some(fields) = said.as_object_mut() {
        file.rewind()?;
        let decoded = pixels::decode(BufReader::with_capacity(PIECE, file)).ok();
        fields.insert("mode".into(), decoded.as_ref().and_then(|pixels| pixels.mode).into());
        let hash = decoded.map(|pixels| pixels::difference_hash(pixels).cast_signed());
        fields.insert("dhash".into(), hash.into());
    }
    Ok(said)
}

/// The orientation that a camera recorded in a JPEG (Exif 2.32, tag 0x0112): 1 if it is not
/// rotated.
fn orientation(jpeg: &[u8]) -> u16 {
    exif(jpeg).and_then(tag_orientation).filter(|value| (1..=8).contains(value)).unwrap_or(1)
}

/// The TIFF inside the APP1 segment of a JPEG.
fn exif(jpeg: &[u8]) -> Option<&[u8]> {
    let mut at = 2;
    loop {
        let head = jpeg.get(at..at + 4)?;
        let length = usize::from(u16::from_be_bytes([head[2], head[3]]));
        if head[0] != 0xff || length < 2 || head[1] == 0xda {
            return None;
        }
        let body = jpeg.get(at + 4..at + 2 + length)?;
        if head[1] == 0xe1
            && let Some(tiff) = body.strip_prefix(b"Exif\0\0")
        {
            return Some(tiff);
        }
        at += 2 + length;
    }
}

fn tag_orientation(tiff: &[u8]) -> Option<u16> {
    let is_little = match tiff.get(..2)? {
        b"II" => true,
        b"MM" => false,
        _ => return None,
    };
    let short = |at: usize| {
        let bytes = tiff.get(at..at + 2)?.try_into().ok()?;
        Some(if is_little { u16::from_le_bytes(bytes) } else { u16::from_be_bytes(bytes) })
    };
    let long = |at: usize| {
        let bytes = tiff.get(at..at + 4)?.try_into().ok()?;
        Some(if is_little { u32::from_le_bytes(bytes) } else { u32::from_be_bytes(bytes) })
    };
    let directory = usize::try_from(long(4)?).ok()?;
    let count = usize::from(short(directory)?);
    (0..count).find_map(|n| {
        let entry = directory.checked_add(2 + n * 12)?;
        (short(entry)? == 0x0112).then(|| short(entry + 8))?
    })
}

/// ffprobe's facts about a file.
async fn media(shared: &Shared, path: &Path) -> Result<Value, String> {
    let words = ["ffprobe", "-v", "error", "-of", "json", "-show_format", "-show_streams", "--"];
    let mut words: Vec<OsString> = words.iter().map(OsString::from).collect();
    words.push(path.into());
    let started = Process::start(&words, &shared.variables, Stdio::null(), &shared.log);
    let started = started
        .map_err(|error| format!("{error}; the step `media` needs ffprobe (Debian's `ffmpeg`)"))?;
    let Started::Well(mut process) = started else { return Err("its path is too long".into()) };
    let (_, stdout) = process.pipes();
    let read = async move {
        let mut printed = Vec::new();
        if let Some(stdout) = stdout {
            stdout.take(LONGEST as u64).read_to_end(&mut printed).await.ok();
        }
        printed
    };
    let read = tokio::spawn(read);
    let status = process.ended_by(shared.row_timeout).await;
    let printed =
        tokio::time::timeout(GRACE, read).await.ok().and_then(Result::ok).unwrap_or_default();
    if !status.is_some_and(|status| status.success()) {
        return Err(format!("ffprobe ended with {}{}", ending(status), process.said()));
    }
    let told: Value = serde_json::from_slice(&printed).map_err(|error| error.to_string())?;
    Ok(of_probe(&told))
}

fn of_probe(told: &Value) -> Value {
    let streams = told["streams"].as_array().map(Vec::as_slice).unwrap_or_default();
    let of = |kind: &str| streams.iter().find(|stream| stream["codec_type"] == kind);
    let number = |value: &Value| value.as_str().and_then(|text| text.parse::<f64>().ok());
    let (video, audio) = (of("video"), of("audio"));
    let codec = |stream: Option<&Value>| stream.map_or(Value::Null, |s| s["codec_name"].clone());
    let side = |name: &str| video.map_or(Value::Null, |stream| stream[name].clone());
    let fps = video.and_then(|stream| stream["avg_frame_rate"].as_str()).and_then(|rate| {
        let (frames, seconds) = rate.split_once('/')?;
        let (frames, seconds): (f64, f64) = (frames.parse().ok()?, seconds.parse().ok()?);
        (seconds > 0.0 && frames > 0.0).then(|| frames / seconds)
    });
    let rate = number(&told["format"]["bit_rate"]).map(|rate| rate as i64);
    json!({
        "seconds": number(&told["format"]["duration"]),
        "format": told["format"]["format_name"].as_str().unwrap_or_default(),
        "bit_rate": rate,
        "video": codec(video),
        "audio": codec(audio),
        "width": side("width"),
        "height": side("height"),
        "fps": fps,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_types_of_steps_are_types() {
        for step in Step::ALL {
            assert!(step.signals().is_ok(), "{step:?}");
            assert_eq!(step.name().parse(), Ok(step));
        }
    }

    #[test]
    fn texts_are_counted_as_wc_counts_them() {
        let cases: [(&[u8], [u64; 3], &str); 6] = [
            (b"", [0, 0, 0], "ascii"),
            (b"one two\nthree", [1, 3, 13], "ascii"),
            ("caf\u{e9} \u{1f600}\n".as_bytes(), [1, 2, 7], "utf-8"),
            (b"\xff\xfea\0", [0, 0, 0], "utf-16"),
            (b"a\0b", [0, 0, 0], "binary"),
            (b"a\xffb", [0, 0, 0], "binary"),
        ];
        for (bytes, [lines, words, characters], encoding) in cases {
            let want = json!({ "lines": lines, "words": words, "characters": characters, "encoding": encoding });
            assert_eq!(text(&mut &bytes[..]).expect("read"), want, "{bytes:?}");
        }
        // A character of two bytes across the border of two pieces.
        let long = [vec![b'a'; PIECE - 1], "\u{e9}b".into()].concat();
        assert_eq!(text(&mut &long[..]).expect("read")["characters"], PIECE + 1);
    }

    #[test]
    fn what_a_camera_noted_is_found() {
        let entry = |value: u8| {
            let tiff: &[u8] =
                &[b'M', b'M', 0, 42, 0, 0, 0, 8, 0, 1, 1, 0x12, 0, 3, 0, 0, 0, 1, 0, value, 0, 0];
            let body = [b"Exif\0\0", tiff].concat();
            let length = u16::try_from(body.len() + 2).expect("short").to_be_bytes();
            [&[0xff, 0xd8, 0xff, 0xe1], &length[..], &body].concat()
        };
        assert_eq!((orientation(&entry(6)), orientation(&entry(99))), (6, 1));
        let whole = entry(6);
        (0..whole.len()).for_each(|end| assert!(matches!(orientation(&whole[..end]), 1 | 6)));
    }

    #[test]
    fn what_ffprobe_says_becomes_columns() {
        let told = json!({
            "format": { "duration": "3.5", "format_name": "mov,mp4", "bit_rate": "1000" },
            "streams": [{ "codec_type": "video", "codec_name": "h264", "width": 640, "height": 480, "avg_frame_rate": "30000/1001" }]
        });
        let got = of_probe(&told);
        assert_eq!(
            (&got["seconds"], &got["video"], &got["audio"]),
            (&json!(3.5), &json!("h264"), &Value::Null)
        );
        assert!((got["fps"].as_f64().expect("a number") - 29.97).abs() < 0.01);
    }
}
