//! Any text as a filter: parsed, checked, printed, parsed again, evaluated. For every text: no panic, the
//! printed form parses to the same, and every row is true, false or NULL for it.
//!
//! `tests/fuzz/run SECONDS` builds and runs it over `corpus/`.
#![no_main]
use std::sync::{Arc, LazyLock};

use dcfs_core::expr::packed::{Numbers, Packed, Texts, Valid, Vectors};
use dcfs_core::expr::{self, Column, Columns, Fault, Form, Target};
use libfuzzer_sys::fuzz_target;
use dcfs_core::schema::Schema;

const ROWS: usize = 97;

const FEATURES: &str = r#"{
    "file": "File@v1", "n": "int", "x": "Optional[float]", "s": "str", "t": "Optional[str]", "b": "Optional[bool]",
    "w": "datetime", "emb": "list[float]", "tags": "list[str]", "boxes": "list[Box]", "d": "dict", "m": "Optional[Box]",
    "_custom_types": {"File@v1": {"source": "str", "path": "str", "size": "int"}, "Box": {"x": "int", "y": "str"}}}"#;

const TEXTS: [&str; 12] = [
    "", "a", "Pug", "\u{e9}", "a\0b", "%_", "images/pug/1.tar.gz", "[1,2,3]", r#"["a","b"]"#,
    r#"["{\"x\":1,\"y\":\"z\"}"]"#, r#"{"k":[1,{"a":null}],"x":"1"}"#, "[[[",
];

static SCHEMA: LazyLock<Schema> = LazyLock::new(|| {
    let columns = [
        "file__source", "file__path", "file__size", "n", "x", "s", "t", "b", "w", "emb", "tags", "boxes", "d",
        "m___type_tag", "m__x", "m__y",
    ];
    let table: Vec<_> = columns.iter().map(|name| ((*name).to_owned(), String::new())).collect();
    Schema::parse(FEATURES, "{}", &table).expect("a schema")
});

/// Every column of a form has the same buffers.
struct Buffers {
    ints: Vec<[u8; 8]>,
    floats: Vec<[u8; 8]>,
    valid: Vec<[u8; 8]>,
    offsets: Vec<[u8; 8]>,
    bytes: Vec<u8>,
    codes: Vec<[u8; 2]>,
    words: Vec<[u8; 8]>,
    word_bytes: Vec<u8>,
    singles: Vec<[u8; 4]>,
}

static BUFFERS: LazyLock<Buffers> = LazyLock::new(|| {
    let ints = [0, 1, -1, 400, 1 << 53, (1 << 53) + 1, i64::MAX, i64::MIN];
    let floats = [0.0, -0.0, 0.5, 1e300, f64::INFINITY, f64::NEG_INFINITY, 400.0];
    let texts = |count: usize| {
        let (mut offsets, mut bytes) = (vec![0_u64.to_le_bytes()], Vec::new());
        for row in 0..count {
            bytes.extend_from_slice(TEXTS[row % TEXTS.len()].as_bytes());
            offsets.push((bytes.len() as u64).to_le_bytes());
        }
        (offsets, bytes)
    };
    let ((offsets, bytes), (words, word_bytes)) = (texts(ROWS), texts(TEXTS.len()));
    Buffers {
        ints: (0..ROWS).map(|row| i64::to_le_bytes(ints[row % ints.len()])).collect(),
        floats: (0..ROWS).map(|row| f64::to_le_bytes(floats[row % floats.len()])).collect(),
        valid: vec![0xdead_beef_7fff_ffff_u64.to_le_bytes(); ROWS.div_ceil(64)],
        offsets,
        bytes,
        codes: (0..ROWS).map(|row| ((row * 7 % TEXTS.len()) as u16).to_le_bytes()).collect(),
        words,
        word_bytes,
        singles: (0..ROWS * 3).map(|n| (n as f32).to_le_bytes()).collect(),
    }
});

struct Table;

impl Columns for Table {
    fn rows(&self) -> usize {
        ROWS
    }

    fn packed(&self, column: &Arc<Column>) -> Packed<'_> {
        let all = &*BUFFERS;
        let valid = Valid(Some(&all.valid));
        let texts = Texts { offsets: &all.offsets, bytes: &all.bytes };
        let words = Texts { offsets: &all.words, bytes: &all.word_bytes };
        match (column.form, column.name.as_str()) {
            (_, "sys__id") => Packed::Sequence(1),
            (Form::Presence, _) => Packed::Presence(valid),
            (Form::Bool, _) => Packed::Bools(&all.ints[..ROWS.div_ceil(64)], valid),
            (Form::Int, "n") => Packed::Ints(&all.ints, Valid::ALL),
            (Form::Int, "m.x") => Packed::Narrow(&all.singles[..ROWS], valid),
            (Form::Int | Form::Time, _) => Packed::Ints(&all.ints, valid),
            (Form::Float, _) => Packed::Floats(&all.floats, valid),
            (Form::Text, "s" | "d") => Packed::Words(&all.codes, words, valid),
            (Form::Text, _) => Packed::Texts(texts, valid),
            (Form::Vector, _) => {
                Packed::Vectors(Vectors { width: 3, numbers: Numbers::Single(&all.singles) }, valid)
            }
        }
    }

    fn target(&self, _: &Column, target: &Target) -> Option<Vec<f64>> {
        match target {
            Target::Vector(vector) => Some(vector.clone()),
            _ => Some(vec![1.0, 2.0, 3.0]),
        }
    }
}

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let as_name = expr::directory(text, &SCHEMA);
    let query = match expr::check(text, &SCHEMA) {
        Ok(query) => query,
        Err(error) => {
            assert!(!error.to_string().is_empty());
            assert!(!matches!(as_name, Some(Ok(_))), "a name that is no filter");
            return;
        }
    };
    let printed = query.to_string();
    let again = expr::check(&printed, &SCHEMA);
    // Printing adds parentheses, spaces and escapes; a long text may become too long.
    if printed.len() < expr::LONGEST / 2 {
        let again = again.unwrap_or_else(|error| panic!("{text:?} prints as what is wrong: {error}"));
        assert_eq!(again, query, "{text:?} prints as {printed:?}");
    }
    if let Some(filter) = &query.filter {
        match expr::rows(filter, &Table, None) {
            Ok(rows) => assert!(rows.max().is_none_or(|row| (row as usize) < ROWS)),
            Err(fault) => assert_ne!(fault, Fault::Damaged, "{text:?}"),
        }
    }
    if !query.order.is_empty() {
        let most = query.limit.unwrap_or(u64::MAX).saturating_add(query.offset);
        match expr::rank(&query.order, most, &Table, None) {
            Ok(ranked) => assert!(ranked.is_none_or(|ranked| ranked.len() <= ROWS)),
            Err(fault) => assert_ne!(fault, Fault::Damaged, "{text:?}"),
        }
    }
});
