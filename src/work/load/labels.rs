//! Label files of the field: COCO's JSON, Pascal VOC's XML, YOLO's texts, ImageNet's synsets.
//!
//! A record is what a label is about: an annotation, an object, a box, a synset. COCO and YOLO give one as well for a
//! picture without any, so that it stays in the dataset.

use std::collections::{HashMap, HashSet};
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use serde_json::{Map, Value as Json, json};

use sha2::{Digest as _, Sha256};

use super::records::{EachRecord, Reading, Record, document};
use super::sources::SourceFile;
use super::{Error, names, wrong, xml};
use dcfs_core::error::Result;
use dcfs_core::hex::hex;
use dcfs_disk::regular;

/// The longest XML or text file of labels, in bytes: it is held in memory.
const LONGEST: u64 = 64 << 20;

/// COCO: a record for every annotation, with the name and the size of its picture and the name of its category.
pub fn coco(opened: File, file: &str, each: &mut EachRecord<'_>) -> Result<()> {
    let mut found = document(opened, file)?;
    let mut take = |key: &str| match found.get_mut(key).map(Json::take) {
        Some(Json::Array(items)) => Ok(items),
        None => Ok(Vec::new()),
        Some(_) => Err(wrong(file, format!("its `{key}` is not a list"))),
    };
    let (images, categories, annotations) =
        (take("images")?, take("categories")?, take("annotations")?);
    if images.is_empty() {
        return Err(wrong(file, "it has no `images`, so it is not COCO's JSON").into());
    }
    let id = |of: &Json, key: &str| of.get(key).map(Json::to_string).unwrap_or_default();
    let names: HashMap<String, Json> = categories
        .iter()
        .map(|category| (id(category, "id"), category.get("name").cloned().unwrap_or_default()))
        .collect();
    let mut by_image: HashMap<String, Vec<usize>> = HashMap::new();
    for (number, annotation) in annotations.iter().enumerate() {
        if !annotation.is_object() {
            let what = format!("item {number} of its `annotations` is not an object");
            return Err(wrong(file, what).into());
        }
        by_image.entry(id(annotation, "image_id")).or_default().push(number);
    }
    let mut line = 0;
    let mut seen = HashSet::new();
    for image in &images {
        let Json::Object(of_image) = image else {
            return Err(wrong(file, "an image is not an object").into());
        };
        let number = id(image, "id");
        if seen.contains(&number) {
            return Err(wrong(file, format!("two of its `images` have the id `{number}`")).into());
        }
        let mut base = Map::new();
        for key in ["file_name", "width", "height"] {
            base.insert(key.to_owned(), of_image.get(key).cloned().unwrap_or_default());
        }
        base.insert("image_id".to_owned(), of_image.get("id").cloned().unwrap_or_default());
        let own = by_image.remove(&number).unwrap_or_default();
        seen.insert(number);
        if own.is_empty() {
            line += 1;
            each(line, Record::Json(&base))?;
        }
        for number in own {
            let mut record = base.clone();
            let Json::Object(fields) = &annotations[number] else { continue };
            record.extend(fields.iter().map(|(name, value)| (name.clone(), value.clone())));
            let category = names.get(&id(&annotations[number], "category_id")).cloned();
            record.insert("category".to_owned(), category.unwrap_or_default());
            line += 1;
            each(line, Record::Json(&record))?;
        }
    }
    match by_image.len() {
        0 => Ok(()),
        _ => Err(wrong(file, "it has annotations of images that it does not list").into()),
    }
}

/// ImageNet's `LOC_synset_mapping.txt`: the number of a class, its synset, its first name and all of them.
pub fn synsets(opened: File, file: &str, each: &mut EachRecord<'_>) -> Result<()> {
    let text = text_of(opened, file)?;
    let lines = text.trim_start_matches('\u{feff}').lines().zip(1_u64..);
    let lines = lines.filter(|(line, _)| !line.trim().is_empty());
    for (class, (line, number)) in (0_u64..).zip(lines) {
        let Some((synset, names)) = line.trim().split_once(char::is_whitespace) else {
            let what =
                "expected a synset and its names, e.g. `n01440764 tench, Tinca tinca`".to_owned();
            return Err(Error::Line { file: file.to_owned(), line: number, what }.into());
        };
        let names: Vec<&str> = names.split(',').map(str::trim).collect();
        let record = json!({"class": class, "synset": synset, "name": names[0], "names": names});
        let Json::Object(record) = record else { continue };
        each(number, Record::Json(&record))?;
    }
    Ok(())
}

/// Every element of an XML file that the reading's path names; `default` where it names none.
pub fn xml_file(
    opened: File,
    shown: &str,
    reading: &Reading,
    default: Option<&str>,
    each: &mut EachRecord<'_>,
) -> Result<()> {
    let wanted = reading.path.as_deref().or(default);
    let mut line = 0;
    let mut pass = |text: &str, wanted: Option<&str>| {
        let read = xml::each(text, wanted, &mut |record| {
            line += 1;
            each(line, Record::Untyped(record))
        });
        read.map_err(|error| match error {
            xml::Wrong::Xml(what) => wrong(shown, what).into(),
            xml::Wrong::Record(error) => error,
        })
    };
    let text = text_of(opened, shown)?;
    let count: u64 = pass(&text, wanted)?;
    // An annotation without objects is one of a picture where nothing is.
    if count == 0 && default.is_some() && reading.path.is_none() {
        pass(&format!("<x>{}</x>", without_declaration(&text)), None)?;
    }
    Ok(())
}

fn without_declaration(text: &str) -> &str {
    let text = text.trim_start_matches('\u{feff}').trim_start();
    match text.strip_prefix("<?xml").and_then(|rest| rest.split_once("?>")) {
        Some((_, rest)) => rest,
        None => text,
    }
}

/// YOLO: a record for every line of a text: the path without its ending, the class by number and name, and the box, or the
/// points of an outline.
pub fn yolo(
    opened: File,
    of: &SourceFile,
    reading: &Reading,
    each: &mut EachRecord<'_>,
) -> Result<()> {
    let names = reading.classes.as_ref().map(|classes| &classes.names);
    let text = text_of(opened, &of.shown)?;
    let mut count = 0;
    let mut is_empty = true;
    for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        is_empty = false;
        let wrong = |what: &str| {
            let (file, line) = (of.shown.clone(), number as u64 + 1);
            Error::Line { file, line, what: what.to_owned() }
        };
        let mut words = line.split_whitespace();
        let class: Option<u64> = words.next().and_then(|word| word.parse().ok());
        let class = class.ok_or_else(|| wrong("expected the number of a class"))?;
        let numbers: Option<Vec<f64>> = words.map(|word| word.parse().ok()).collect();
        let numbers = numbers.filter(|numbers| numbers.iter().all(|x| x.is_finite()));
        let numbers = numbers.ok_or_else(|| wrong("expected numbers behind the class"))?;
        let label = names.and_then(|names| names.get(&class));
        let mut record = json!({"stem": of.stem, "class": class, "label": label});
        match numbers[..] {
            [x, y, width, height] => {
                record["box"] = json!({"x": x, "y": y, "width": width, "height": height})
            }
            [x, y, width, height, confidence] => {
                record["box"] = json!({"x": x, "y": y, "width": width, "height": height});
                record["confidence"] = json!(confidence);
            }
            _ if numbers.len() >= 6 && numbers.len().is_multiple_of(2) => {
                record["points"] = json!(numbers);
            }
            _ => {
                return Err(wrong(
                    "expected four numbers of a box, or the points of an outline, two numbers each",
                )
                .into());
            }
        }
        let Json::Object(record) = record else { continue };
        count += 1;
        each(count, Record::Json(&record))?;
    }
    if is_empty {
        let mut record = Map::new();
        record.insert("stem".to_owned(), Json::from(of.stem.as_str()));
        count += 1;
        each(count, Record::Json(&record))?;
    }
    Ok(())
}

/// The names of classes beside labels.
#[derive(Clone, Debug)]
pub struct Classes {
    /// The file that has them.
    pub file: PathBuf,
    pub names: names::Names,
    /// A digest of them.
    pub digest: String,
}

/// The classes of labels at `path`, which is a file or a folder: by `classes.txt` or `data.yaml`, beside them or up to two
/// folders above.
///
/// # Errors
/// A path or a name that is there and cannot be looked up; a file that is not understood.
pub fn classes(path: &Path) -> Result<Option<Classes>> {
    let Some(file) = class_file(path)? else { return Ok(None) };
    let names = class_names(&file)?;
    let digest = hex(&Sha256::digest(serde_json::to_vec(&names).unwrap_or_default())[..8]);
    Ok(Some(Classes { file, names, digest }))
}

fn class_file(path: &Path) -> Result<Option<PathBuf>> {
    let unread = |file: &Path, cause| Error::Unread { file: file.display().to_string(), cause };
    // `labels` has folders above it, too.
    let path = fs::canonicalize(path).map_err(|cause| unread(path, cause))?;
    let beside = if path.is_dir() { Some(path.as_path()) } else { path.parent() };
    for folder in beside.into_iter().flat_map(Path::ancestors).take(3) {
        for name in ["classes.txt", "data.yaml"] {
            let file = folder.join(name);
            match fs::canonicalize(&file) {
                Ok(_) => return Ok(Some(file)),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(cause) => return Err(unread(&file, cause).into()),
            }
        }
    }
    Ok(None)
}

fn class_names(file: &Path) -> Result<names::Names> {
    let shown = file.display().to_string();
    let unread = |cause| Error::Unread { file: shown.clone(), cause };
    // A link is followed, but nothing is opened that would wait, such as a pipe: others may write to folders above.
    let real = fs::canonicalize(file).map_err(unread)?;
    let text = regular::read_text(&real, LONGEST).map_err(unread)?;
    if file.extension().is_some_and(|ending| ending == "txt") {
        return Ok(names::of_lines(&text));
    }
    Ok(names::of_yaml(&text).map_err(|odd| Error::Line {
        file: shown.clone(),
        line: odd.line,
        what: odd.what.to_owned(),
    })?)
}

/// All of a file, if it is not too long and UTF-8.
fn text_of(opened: File, shown: &str) -> Result<String> {
    let mut bytes = Vec::new();
    let read = opened.take(LONGEST).read_to_end(&mut bytes);
    read.map_err(|cause| Error::Unread { file: shown.to_owned(), cause })?;
    if bytes.len() as u64 == LONGEST {
        return Err(wrong(shown, format!("it is longer than {} MiB", LONGEST >> 20)).into());
    }
    Ok(String::from_utf8(bytes).map_err(|_| wrong(shown, "it is not UTF-8"))?)
}

#[cfg(test)]
mod tests {
    use super::super::{Format, records, sources};
    use super::*;
    use dcfs_core::object::Object;

    /// The records of files, or why there are none.
    fn all(files: &[SourceFile], reading: &Reading) -> Result<Vec<Json>, String> {
        let mut found = Vec::new();
        for file in files {
            let opened = file.open(&|_| tempfile::tempfile().map_err(|_| unreachable!()));
            let read = records::each(opened.expect("a file"), file, reading, &mut |_, record| {
                if let Record::Json(fields) | Record::Untyped(fields) = record {
                    found.push(Json::Object(fields.clone()));
                }
                Ok(())
            });
            read.map_err(|error| error.to_string())?;
        }
        Ok(found)
    }

    fn reading(format: Format) -> Reading {
        let (comment, names, path, classes) = (None, None, None, None);
        Reading { format, delimiter: b',', comment, names, path, classes, table: None }
    }

    /// The records of a text as an object of a store, or why there are none.
    fn of(format: Format, text: &str) -> Result<Vec<Json>, String> {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("file");
        fs::write(&path, text).expect("written");
        let object = Object {
            source: "s3://b".into(),
            path: b"labels/a.txt".to_vec(),
            size: Some(text.len() as u64),
            version: String::new(),
            etag: String::new(),
            last_modified: None,
            location: None,
        };
        let file = SourceFile::object(object, "labels/a.txt");
        let mut found = Vec::new();
        let opened = file.open(&|_| Ok(File::open(&path).expect("a file"))).expect("a file");
        let read = records::each(opened, &file, &reading(format), &mut |_, record| {
            if let Record::Json(fields) | Record::Untyped(fields) = record {
                found.push(Json::Object(fields.clone()));
            }
            Ok(())
        });
        read.map(|()| found).map_err(|error| error.to_string())
    }

    #[test]
    fn an_object_of_a_store_is_told_by_its_address() {
        let rows = of(Format::Yolo, "3 0.5 0.5 0.25 0.25\n").expect("rows");
        assert_eq!((&rows[0]["stem"], &rows[0]["class"]), (&json!("a"), &json!(3)));
        for (format, text) in [(Format::Yolo, "x"), (Format::Voc, "<a>"), (Format::Xml, "")] {
            let told = of(format, text).expect_err(text);
            assert!(told.starts_with("`s3://b/labels/a.txt`"), "{told}");
        }
    }

    #[test]
    fn classes_are_named_beside_the_labels_or_above() {
        let home = tempfile::tempdir().expect("a folder");
        let labels = home.path().join("set/labels/train");
        fs::create_dir_all(&labels).expect("a folder");
        fs::write(labels.join("a.txt"), "2 0.5 0.5 0.25 0.25\n").expect("written");
        let label = |path: &Path| {
            let classes = classes(path).map_err(|error| error.to_string())?;
            let reading = Reading { classes, ..reading(Format::Yolo) };
            let files = sources::local(path, &["txt"]).map_err(|error| error.to_string())?;
            all(&files, &reading).map(|rows| rows[0]["label"].clone())
        };
        assert_eq!(label(&labels), Ok(Json::Null));
        let above = home.path().join("set/data.yaml");
        fs::write(&above, "names:\n  1: dog\n  2: cat\n").expect("written");
        assert_eq!(label(&labels), Ok(json!("cat")));
        assert_eq!(label(&labels.join("a.txt")), Ok(json!("cat")));
        let named = classes(&labels).expect("a file").expect("a file").file;
        assert_eq!(named, above.canonicalize().expect("a path"));
        fs::write(&above, "names: dog").expect("written");
        let told = label(&labels).expect_err("not understood");
        assert!(told.contains("data.yaml`, line 1: below `names:`"), "{told}");
        let pipe = labels.join("classes.txt");
        nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).expect("a pipe");
        let told = label(&labels.join("a.txt")).expect_err("a pipe");
        assert!(told.contains("classes.txt`: it is not a regular file"), "{told}");
    }

    #[test]
    fn outlines_have_two_numbers_for_each_point() {
        let points = of(Format::Yolo, "0 1 2 3 4 5 6 7 8\n").expect("rows");
        assert_eq!(points[0]["points"], json!([1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0]));
        for text in ["0 1 2 3 4 5 6 7", "0 1 2 3"] {
            assert!(of(Format::Yolo, text).expect_err(text).contains("two numbers each"));
        }
    }

    #[test]
    fn an_empty_line_shifts_no_class() {
        let rows = of(Format::Synsets, "n01 tench\n\nn02 goldfish, carp\n").expect("rows");
        assert_eq!(rows.len(), 2);
        assert_eq!((&rows[1]["class"], &rows[1]["name"]), (&json!(1), &json!("goldfish")));
        let told = of(Format::Synsets, "n01 tench\n\nn02\n").expect_err("no names");
        assert!(told.contains("line 3"), "{told}");
        let long = tempfile::tempfile().expect("a file");
        long.set_len(LONGEST).expect("a long file");
        let told = synsets(long, "x.txt", &mut |_, _| Ok(())).expect_err("long").to_string();
        assert_eq!(told, "`x.txt`: it is longer than 64 MiB");
    }

    #[test]
    fn what_coco_would_lose_is_an_error() {
        let of = |images: &str, annotations: &str| {
            let text = format!("{{\"images\": {images}, \"annotations\": {annotations}}}");
            of(Format::Coco, &text)
        };
        assert_eq!(of(r#"[{"id": 1}, {"id": 2}]"#, r#"[{"image_id": 1}]"#).map(|r| r.len()), Ok(2));
        let told = of(r#"[{"id": 1}, {"id": 1}]"#, "[]").expect_err("one id");
        assert!(told.contains("two of its `images` have the id `1`"), "{told}");
        let told = of(r#"[{"id": 1}]"#, "[7]").expect_err("a number");
        assert!(told.contains("item 0 of its `annotations` is not an object"), "{told}");
    }
}
