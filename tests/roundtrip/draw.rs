//! A dataset generated from a number: any shape that dcfs can write, usually with awkward values.

use std::collections::BTreeSet;

use dcfs_core::schema::{Scalar, Signal, SignalKind};
use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use crate::value::Value;

/// The signals of a dataset, and its rows: a value for each.
#[derive(Debug)]
pub struct Drawn {
    pub signals: Vec<Signal>,
    pub rows: Vec<Vec<Value>>,
}

/// Names of signals and fields, including keywords of Python, SQL, DataChain and filters.
const NAMES: [&str; 22] = [
    "a",
    "b",
    "label",
    "score",
    "order",
    "select",
    "rowid",
    "size",
    "source",
    "id",
    "name",
    "value",
    "X",
    "left_one",
    "camelCase",
    "caf\u{e9}",
    "t1",
    "limit",
    "rand",
    "null",
    "text",
    "emb",
];

const SCALARS: [Scalar; 6] =
    [Scalar::Text, Scalar::Int, Scalar::Float, Scalar::Bool, Scalar::Time, Scalar::Bytes];

const TEXTS: [&str; 20] = [
    "",
    " ",
    "a",
    "null",
    "NaN",
    "0",
    "1e3",
    "it's",
    "say \"hi\"",
    "back\\slash",
    "\\u0041",
    "a/b",
    "line\nbreak",
    "tab\t\r",
    "nul\0inside",
    "\0",
    "\u{e9}t\u{e9}",
    "\u{1f600}",
    "\u{feff}bom",
    "\u{2028}",
];

const PATHS: [&str; 12] = [
    "a.jpg",
    "images/cat/1.png",
    "sp ace/f ile.txt",
    "50%.txt",
    "%20",
    "\u{65e5}\u{672c}/x.png",
    "-rf",
    "q'uo\"te.txt",
    "x.tar.gz",
    "[x]/*.txt",
    "_schema.json",
    ".hidden",
];

/// Years 1 to 9999, which is what Python has, in microseconds.
const FIRST: i64 = -62_135_596_800_000_000;
const LAST: i64 = 253_402_300_799_999_999;

/// The same dataset for the same seed.
pub fn dataset(seed: u64) -> Drawn {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    let dataset = signals(1..7, 2).prop_flat_map(|signals| {
        let row: Vec<_> = signals.iter().map(value).collect();
        (Just(signals), prop::collection::vec(row, 0..12))
    });
    let (signals, rows) = dataset.new_tree(&mut runner).expect("a dataset").current();
    Drawn { signals, rows }
}

/// Signals with different names, also ignoring case, as SQLite does.
fn signals(count: std::ops::Range<usize>, depth: u32) -> BoxedStrategy<Vec<Signal>> {
    let distinct = subsequence(&NAMES[..], count).prop_shuffle();
    let named = distinct.prop_flat_map(move |names| {
        let one = |name: &str| {
            let name = name.to_owned();
            (kind(depth), any::<bool>()).prop_map(move |(kind, optional)| Signal {
                name: name.clone(),
                kind,
                optional,
            })
        };
        names.iter().map(|name| one(name)).collect::<Vec<_>>()
    });
    named.boxed()
}

fn kind(depth: u32) -> BoxedStrategy<SignalKind> {
    let items = SCALARS.into_iter().filter(|scalar| *scalar != Scalar::Bytes);
    let plain = prop_oneof![
        6 => select(&SCALARS[..]).prop_map(SignalKind::Scalar),
        3 => select(items.collect::<Vec<_>>()).prop_map(SignalKind::list_of),
        1 => Just(SignalKind::Dict),
        1 => Just(SignalKind::File),
        1 => Just(SignalKind::Image),
    ];
    match depth.checked_sub(1) {
        Some(below) => {
            let model = signals(1..5, below).prop_map(SignalKind::Model);
            prop_oneof![4 => plain, 1 => model].boxed()
        }
        None => plain.boxed(),
    }
}

fn value(signal: &Signal) -> BoxedStrategy<Value> {
    let there = match &signal.kind {
        SignalKind::Scalar(scalar) => self::scalar(*scalar),
        SignalKind::List(item) => {
            let item = value(&Signal::new("", SignalKind::clone(item)));
            prop::collection::vec(item, 0..5).prop_map(Value::List).boxed()
        }
        SignalKind::Dict | SignalKind::Json => dict(),
        SignalKind::File => file(),
        SignalKind::Image => image(),
        SignalKind::Model(fields) => {
            let values: Vec<_> = fields.iter().map(value).collect();
            let names: Vec<String> = fields.iter().map(|field| field.name.clone()).collect();
            let named = move |values| names.iter().cloned().zip(values).collect();
            values.prop_map(move |values: Vec<Value>| Value::Model(named(values))).boxed()
        }
    };
    match signal.optional {
        true => prop_oneof![1 => Just(Value::Nothing), 2 => there].boxed(),
        false => there,
    }
}

fn scalar(scalar: Scalar) -> BoxedStrategy<Value> {
    match scalar {
        Scalar::Text => text().prop_map(Value::Text).boxed(),
        Scalar::Int => {
            let awkward = [0, 1, -1, 1 << 53, (1 << 53) + 1, i64::MAX, i64::MIN];
            prop_oneof![select(awkward.to_vec()), any::<i64>()].prop_map(Value::Int).boxed()
        }
        Scalar::Float => {
            let awkward = [0.0, -0.0, 0.1, 1.0, 1e300, 5e-324, f64::MAX, 9_007_199_254_740_993.0];
            let odd = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY];
            let any = prop::num::f64::ANY;
            prop_oneof![select(awkward.to_vec()), select(odd.to_vec()), any]
                .prop_map(Value::Float)
                .boxed()
        }
        Scalar::Bool => any::<bool>().prop_map(Value::Bool).boxed(),
        Scalar::Time => prop_oneof![
            (FIRST / 1_000_000..=LAST / 1_000_000).prop_map(|second| second * 1_000_000),
            FIRST..=LAST,
            select(vec![0, -1, -1_000_000, 123_456, 100_000, FIRST, LAST]),
        ]
        .prop_map(Value::Time)
        .boxed(),
        Scalar::Bytes => prop::collection::vec(any::<u8>(), 0..40).prop_map(Value::Bytes).boxed(),
    }
}

fn text() -> BoxedStrategy<String> {
    prop_oneof![select(&TEXTS[..]).prop_map(str::to_owned), any::<String>()].boxed()
}

fn dict() -> BoxedStrategy<Value> {
    let items = prop::collection::vec((text(), text().prop_map(Value::Text)), 0..4);
    items
        .prop_map(|items| {
            let mut told = BTreeSet::new();
            let once = items.into_iter().filter(|(key, _)| told.insert(key.clone()));
            Value::Dict(once.collect())
        })
        .boxed()
}

fn file() -> BoxedStrategy<Value> {
    let sources = ["s3://bucket", "file:///data/x y", "gs://b"].map(str::to_owned).to_vec();
    let path = select(&PATHS[..]).prop_map(str::to_owned);
    let etag = select(vec!["", "0x1.ac007a8d5e205p+30", "d41d8cd9"]).prop_map(str::to_owned);
    let parts = (
        select(sources),
        path,
        0..1i64 << 50,
        etag.clone(),
        etag,
        any::<bool>(),
        scalar(Scalar::Time),
    );
    parts
        .prop_map(|(source, path, size, version, etag, is_latest, modified)| {
            named([
                ("source", Value::Text(source)),
                ("path", Value::Text(path)),
                ("size", Value::Int(size)),
                ("version", Value::Text(version)),
                ("etag", Value::Text(etag)),
                ("is_latest", Value::Bool(is_latest)),
                ("last_modified", modified),
                ("location", Value::Nothing),
            ])
        })
        .boxed()
}

fn image() -> BoxedStrategy<Value> {
    (any::<i64>(), any::<i64>(), text())
        .prop_map(|(width, height, format)| {
            let (width, height) = (Value::Int(width), Value::Int(height));
            named([("width", width), ("height", height), ("format", Value::Text(format))])
        })
        .boxed()
}

fn named<const N: usize>(fields: [(&str, Value); N]) -> Value {
    Value::Model(fields.map(|(name, value)| (name.to_owned(), value)).into())
}
