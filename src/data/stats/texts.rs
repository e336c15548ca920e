//! Measures of texts: their lengths, the number of distinct ones, and labels if there are few.
//!
//! Distinct texts are identified by 128 bits of two hashes, sorted like numbers: among a billion
//! texts, the chance that two collide is one in 10^20. Dictionary-encoded texts are counted by
//! their indices.

use std::collections::{BTreeMap, HashMap};
use std::hash::{DefaultHasher, Hasher};

use super::facts::{ColumnType, Frequent, Measures, Number};
use super::numbers::{Kind, key_of_int, measure};
use super::reading::{Damage, Rows};
use super::runs::runs;
use dcfs_core::expr::packed::{Packed, Texts};
use dcfs_core::render::stranger::visible;

/// Repeating texts with at most this many distinct ones are labels, however few rows there are:
/// DataChain's own limit.
const FEW: u64 = 20;

/// Otherwise they are labels up to this share of the rows: Hugging Face's limit.
const LABELS_PER_ROW: f64 = 0.2;

/// The most bytes of a label.
const LONGEST_LABEL: usize = 200;

/// The most frequent texts reported, and the most characters of each.
const MOST_FREQUENT: usize = 10;
const LONGEST_FREQUENT: usize = 100;

/// The number of characters of a text.
pub fn length(text: &[u8]) -> u64 {
    text.iter().filter(|byte| **byte & 0xc0 != 0x80).count() as u64
}

/// 128 bits that identify a text and the parts before it.
pub fn hash(parts: &[&[u8]]) -> u128 {
    let half = |seed: u8| {
        let mut hasher = DefaultHasher::new();
        hasher.write_u8(seed);
        for part in parts {
            hasher.write_usize(part.len());
            hasher.write(part);
        }
        hasher.finish()
    };
    u128::from(half(0)) << 64 | u128::from(half(1))
}

/// The texts of a column and their counts, as far as they are reported.
#[derive(Default)]
struct Counted<'a> {
    different: u64,
    /// All of them if they are few, else the most frequent: by descending count, then by their
    /// bytes.
    texts: Vec<(&'a [u8], u64)>,
    lengths: BTreeMap<u64, u64>,
}

/// Measures a column of texts; there are at most `most_labels` labels.
///
/// # Errors
/// [`Damage`].
pub fn texts(
    packed: &Packed<'_>,
    rows: Rows<'_>,
    most_labels: u64,
) -> Result<(ColumnType, Measures), Damage> {
    let most_labels = most_labels.max(FEW);
    let counted = match packed {
        Packed::Words(_, texts, _) => numbered(packed, texts, rows)?,
        _ => hashed(packed, rows, most_labels)?,
    };
    let Counted { different, mut texts, lengths } = counted;
    let count: u64 = lengths.values().sum();
    let is_few = different <= FEW || different as f64 <= LABELS_PER_ROW * count as f64;
    let are_labels = different > 0
        && is_few
        && different <= most_labels
        && texts.iter().any(|(_, count)| *count > 1)
        && texts.iter().all(|(text, _)| text.len() <= LONGEST_LABEL);
    if are_labels {
        let mut frequencies = serde_json::Map::new();
        for (text, count) in &texts {
            let label = String::from_utf8_lossy(text).into_owned();
            let before = frequencies.get(&label).and_then(serde_json::Value::as_u64);
            frequencies.insert(label, (before.unwrap_or_default() + count).into());
        }
        let measures = Measures {
            no_label_count: Some(0),
            no_label_proportion: Some(0.0),
            n_unique: Some(different),
            frequencies: Some(frequencies),
            ..Measures::default()
        };
        return Ok((ColumnType::StringLabel, measures));
    }
    let walk = |give: &mut dyn FnMut(u64, u64)| {
        lengths.iter().for_each(|(length, count)| give(key_of_int(*length as i64), *count));
    };
    texts.retain(|(_, count)| *count > 1);
    texts.truncate(MOST_FREQUENT);
    let frequent = |(text, count): (&[u8], u64)| {
        let text = String::from_utf8_lossy(&text[..text.len().min(4 * LONGEST_FREQUENT)]);
        Frequent { value: Number::Text(visible(&text, LONGEST_FREQUENT)), count }
    };
    let measures = Measures {
        n_unique: Some(different),
        most_frequent: texts.into_iter().map(frequent).collect(),
        ..measure(Kind::Int, &walk, &walk)
    };
    Ok((ColumnType::StringText, measures))
}

/// Sorts by descending count, then by bytes.
fn sort(texts: &mut [(&[u8], u64)]) {
    texts.sort_unstable_by(|(a, m), (b, n)| n.cmp(m).then_with(|| a.cmp(b)));
}

/// Counts dictionary-encoded texts by index.
fn numbered<'a>(
    packed: &Packed<'a>,
    texts: &Texts<'a>,
    rows: Rows<'_>,
) -> Result<Counted<'a>, Damage> {
    let Packed::Words(codes, ..) = packed else { return Ok(Counted::default()) };
    let mut counts = vec![0_u64; texts.len()];
    rows.each_valid(packed, |row| {
        let code = usize::from(u16::from_le_bytes(*codes.get(row).ok_or(Damage)?));
        *counts.get_mut(code).ok_or(Damage)? += 1;
        Ok(())
    })?;
    let mut counted = Counted::default();
    for (code, count) in counts.into_iter().enumerate().filter(|(_, count)| *count > 0) {
        let text = texts.get(code).ok_or(Damage)?;
        counted.texts.push((text, count));
        *counted.lengths.entry(length(text)).or_default() += count;
    }
    counted.different = counted.texts.len() as u64;
    sort(&mut counted.texts);
    Ok(counted)
}

/// Counts texts by their hashes.
fn hashed<'a>(
    packed: &Packed<'a>,
    rows: Rows<'_>,
    most_labels: u64,
) -> Result<Counted<'a>, Damage> {
    let mut counted = Counted::default();
    let mut count = 0;
    rows.each_valid(packed, |row| {
        *counted.lengths.entry(length(packed.text(row).ok_or(Damage)?)).or_default() += 1;
        count += 1;
        Ok(())
    })?;
    // The most frequent and, as long as they may be labels, all: hashes, by descending count.
    let mut all: Vec<(u128, u64)> = Vec::new();
    let mut frequent = all.clone();
    let each = |give: &mut dyn FnMut(u128)| {
        // Every row was just read, so none is damaged.
        let _ = rows.each_valid(packed, |row| {
            give(hash(&[packed.text(row).unwrap_or_default()]));
            Ok(())
        });
    };
    runs(count, &each, &mut |hash, times| {
        counted.different += 1;
        if counted.different <= most_labels {
            all.push((hash, times));
        }
        let least = frequent.get(MOST_FREQUENT - 1).map_or(1, |(_, least)| *least);
        if times > least {
            frequent.truncate(MOST_FREQUENT - 1);
            let place = frequent.partition_point(|(_, count)| *count >= times);
            frequent.insert(place, (hash, times));
        }
    });
    let told = if counted.different <= most_labels { all } else { frequent };
    let mut wanted: HashMap<u128, u64> = told.into_iter().collect();
    for row in rows.iter() {
        if wanted.is_empty() {
            break;
        }
        if packed.is_valid(row) {
            let text = packed.text(row).ok_or(Damage)?;
            if let Some(times) = wanted.remove(&hash(&[text])) {
                counted.texts.push((text, times));
            }
        }
    }
    sort(&mut counted.texts);
    Ok(counted)
}

#[cfg(test)]
mod tests {
    use super::*;
    use dcfs_core::expr::packed::Valid;

    fn column(texts: &[&str]) -> (Vec<[u8; 8]>, Vec<u8>) {
        let mut offsets = vec![0_u64.to_le_bytes()];
        let mut bytes = Vec::new();
        for text in texts {
            bytes.extend_from_slice(text.as_bytes());
            offsets.push((bytes.len() as u64).to_le_bytes());
        }
        (offsets, bytes)
    }

    fn measured(of: &[&str]) -> (ColumnType, Measures) {
        let (offsets, bytes) = column(of);
        let packed = Packed::Texts(Texts { offsets: &offsets, bytes: &bytes }, Valid::ALL);
        let codes: Vec<[u8; 2]> = (0..of.len() as u16).map(u16::to_le_bytes).collect();
        let words = Packed::Words(&codes, Texts { offsets: &offsets, bytes: &bytes }, Valid::ALL);
        let rows = Rows { count: of.len(), within: None };
        let found = texts(&packed, rows, 1000).expect("sound");
        let is_unique = found.1.n_unique == Some(of.len() as u64);
        // A dictionary-encoded column reports the same.
        if is_unique {
            assert_eq!(texts(&words, rows, 1000), Ok(found.clone()));
        }
        found
    }

    #[test]
    fn few_that_repeat_are_labels() {
        let (kind, found) = measured(&["pug", "cat", "pug"]);
        assert_eq!(kind, ColumnType::StringLabel);
        assert_eq!(found.labels().collect::<Vec<_>>(), [("pug", 2), ("cat", 1)]);
        let (kind, found) = measured(&["a", "b\u{e9}", ""]);
        assert_eq!((kind, found.n_unique), (ColumnType::StringText, Some(3)));
        assert_eq!((found.min, found.max), (Some(Number::Int(0)), Some(Number::Int(2))));
        let long = "x".repeat(300);
        let (kind, found) = measured(&[&long, &long]);
        assert_eq!((kind, found.n_unique), (ColumnType::StringText, Some(1)));
        assert_eq!(found.most_frequent.len(), 1);
        assert_eq!(measured(&[]).1.n_unique, Some(0));
    }

    #[test]
    fn damage_is_told() {
        let offsets = [0, 9_u64].map(u64::to_le_bytes);
        let packed = Packed::Texts(Texts { offsets: &offsets, bytes: b"x" }, Valid::ALL);
        assert_eq!(texts(&packed, Rows { count: 1, within: None }, 10), Err(Damage));
    }
}
