//! Statistics of File columns and of images.

use std::collections::HashMap;

use super::facts::{Extension, Files, Flag, Pictures, Size};
use super::reading::{Damage, Rows};
use super::runs::runs;
use super::texts::hash;
use dcfs_core::expr::Part;
use dcfs_core::expr::packed::Packed;
use dcfs_core::render::stranger::visible;

/// The most extensions counted separately; files with others are counted together.
const MOST_EXTENSIONS: usize = 4096;

/// The most extensions, and sizes of images, that are reported.
const MOST_TOLD: usize = 20;
const MOST_SIZES: usize = 5;

/// The most characters of an extension that are reported.
const LONGEST_EXTENSION: usize = 32;

/// The packed parts of a File column.
#[derive(Clone, Copy, Debug)]
pub struct FilePacked<'p> {
    pub path: Packed<'p>,
    pub source: Option<Packed<'p>>,
    pub size: Option<Packed<'p>>,
}

/// Measures the File column called `name`.
///
/// # Errors
/// [`Damage`].
pub fn files(name: &str, of: &FilePacked<'_>, rows: Rows<'_>) -> Result<Files, Damage> {
    let mut found = Files { column_name: name.to_owned(), ..Files::default() };
    let mut extensions: HashMap<&[u8], (u64, u64)> = HashMap::new();
    let mut more = (0, 0);
    rows.each_valid(&of.path, |row| {
        let path = of.path.text(row).ok_or(Damage)?;
        let size = of.size.filter(|size| size.is_valid(row)).and_then(|size| size.int(row));
        let bytes = size.map_or(0, |size| size.max(0).unsigned_abs());
        found.count += 1;
        found.bytes = found.bytes.saturating_add(bytes);
        found.empty += u64::from(size == Some(0));
        let extension = Part::Ext.of(path);
        let is_full = extensions.len() >= MOST_EXTENSIONS && !extensions.contains_key(extension);
        let counted = if is_full { &mut more } else { extensions.entry(extension).or_default() };
        counted.0 += 1;
        counted.1 = counted.1.saturating_add(bytes);
        Ok(())
    })?;
    let each = |give: &mut dyn FnMut(u128)| {
        // Every row was just read, so none is damaged.
        let _ = rows.each_valid(&of.path, |row| {
            let source = of.source.filter(|source| source.is_valid(row));
            let source = source.and_then(|source| source.text(row)).unwrap_or_default();
            give(hash(&[source, of.path.text(row).unwrap_or_default()]));
            Ok(())
        });
    };
    runs(found.count, &each, &mut |_, _| found.n_unique += 1);
    found.duplicates = found.count - found.n_unique;
    if found.duplicates > 0 {
        found.flags.push(Flag::DuplicateFiles);
    }
    let mut told: Vec<(&[u8], (u64, u64))> = extensions.into_iter().collect();
    told.sort_unstable_by(|(a, (m, _)), (b, (n, _))| n.cmp(m).then_with(|| a.cmp(b)));
    found.more_extensions = told.len().saturating_sub(MOST_TOLD) as u64 + u64::from(more.0 > 0);
    let told = told.into_iter().take(MOST_TOLD);
    found.extensions = told
        .map(|(extension, (count, bytes))| {
            let extension = String::from_utf8_lossy(extension);
            Extension { extension: visible(&extension, LONGEST_EXTENSION), count, bytes }
        })
        .collect();
    Ok(found)
}

/// Measures the sizes of images: columns `width` and `height` of the model called `name`.
///
/// # Errors
/// [`Damage`].
pub fn pictures(
    name: &str,
    (width, height): (&Packed<'_>, &Packed<'_>),
    rows: Rows<'_>,
) -> Result<Pictures, Damage> {
    let mut found = Pictures { column_name: name.to_owned(), ..Pictures::default() };
    let side = |packed: &Packed<'_>, row| {
        Ok::<_, Damage>(packed.int(row).ok_or(Damage)?.clamp(0, u32::MAX.into()) as u64)
    };
    let both = |row| Ok::<_, Damage>(side(width, row)? << 32 | side(height, row)?);
    rows.each_valid(width, |row| {
        if height.is_valid(row) {
            both(row)?;
            found.count += 1;
        }
        Ok(())
    })?;
    let each = |give: &mut dyn FnMut(u64)| {
        // Every row was just read, so none is damaged.
        let _ = rows.each_valid(width, |row| {
            if height.is_valid(row) {
                give(both(row)?);
            }
            Ok(())
        });
    };
    runs(found.count, &each, &mut |key, count| {
        found.n_unique += 1;
        let size = Size { width: (key >> 32) as u32, height: key as u32, count };
        let place = found.sizes.partition_point(|known| known.count >= count);
        if place < MOST_SIZES {
            found.sizes.truncate(MOST_SIZES - 1);
            found.sizes.insert(place.min(found.sizes.len()), size);
        }
    });
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use dcfs_core::expr::packed::{Texts, Valid};

    #[test]
    fn files_are_counted_once_and_extensions_by_rows() {
        let paths = ["a/x.jpg", "b.png", "a/x.jpg", "noext", ""];
        let mut offsets = vec![0_u64.to_le_bytes()];
        let mut bytes = Vec::new();
        for path in paths {
            bytes.extend_from_slice(path.as_bytes());
            offsets.push((bytes.len() as u64).to_le_bytes());
        }
        let sizes = [5_i64, 7, 5, 0, 1].map(i64::to_le_bytes);
        let of = FilePacked {
            path: Packed::Texts(Texts { offsets: &offsets, bytes: &bytes }, Valid::ALL),
            source: None,
            size: Some(Packed::Ints(&sizes, Valid::ALL)),
        };
        let found = files("file", &of, Rows { count: 5, within: None }).expect("sound");
        assert_eq!((found.count, found.n_unique, found.duplicates), (5, 4, 1));
        assert_eq!((found.bytes, found.empty, found.flags), (18, 1, vec![Flag::DuplicateFiles]));
        let told: Vec<_> =
            found.extensions.iter().map(|e| (e.extension.as_str(), e.count, e.bytes)).collect();
        assert_eq!(told, [("", 2, 1), ("jpg", 2, 10), ("png", 1, 7)]);
    }

    #[test]
    fn pictures_have_a_few_sizes() {
        let widths = [10_i64, 10, 20, -1].map(i64::to_le_bytes);
        let heights = [5_i64, 5, 1, 3].map(i64::to_le_bytes);
        let packed = [widths, heights];
        let [width, height] = [0, 1].map(|at| Packed::Ints(&packed[at], Valid::ALL));
        let found =
            pictures("info", (&width, &height), Rows { count: 4, within: None }).expect("sound");
        assert_eq!((found.count, found.n_unique), (4, 3));
        assert_eq!(found.sizes[0], Size { width: 10, height: 5, count: 2 });
    }
}
