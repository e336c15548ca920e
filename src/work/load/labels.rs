//! Label files of the field: COCO's JSON, Pascal VOC's XML, YOLO's texts, ImageNet's synsets.
//!
//! A record is what a label is about: an annotation, an object, a box, a synset. COCO and YOLO give one as well for a
//! picture without any, so that it stays in the dataset.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use serde_json::{Map, Value as Json, json};

use super::records::{EachRecord, Reading, Record, document};
use super::{Error, xml};
use dcfs_core::error::Result;

/// The longest XML or text file of labels, in bytes: it is held in memory.
const LONGEST: u64 = 64 << 20;

/// The most files of a folder.
const MOST_FILES: usize = 10_000_000;

fn wrong(file: &str, what: impl Into<String>) -> Error {
    Error::File { file: file.to_owned(), what: what.into() }
}

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
        by_image.entry(id(annotation, "image_id")).or_default().push(number);
    }
    let mut line = 0;
    for image in &images {
        let Json::Object(of_image) = image else {
            return Err(wrong(file, "an image is not an object").into());
        };
        let mut base = Map::new();
        for key in ["file_name", "width", "height"] {
            base.insert(key.to_owned(), of_image.get(key).cloned().unwrap_or_default());
        }
        base.insert("image_id".to_owned(), of_image.get("id").cloned().unwrap_or_default());
        let own = by_image.remove(&id(image, "id")).unwrap_or_default();
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
    for (number, line) in BufReader::new(opened.take(LONGEST)).lines().enumerate() {
        let line = line.map_err(|cause| Error::Unread { file: file.to_owned(), cause })?;
        if line.trim().is_empty() {
            continue;
        }
        let Some((synset, names)) = line.trim().split_once(char::is_whitespace) else {
            let what =
                "expected a synset and its names, e.g. `n01440764 tench, Tinca tinca`".to_owned();
            return Err(Error::Line { file: file.to_owned(), line: number as u64 + 1, what }.into());
        };
        let names: Vec<&str> = names.split(',').map(str::trim).collect();
        let record = json!({"class": number, "synset": synset, "name": names[0], "names": names});
        let Json::Object(record) = record else { continue };
        each(number as u64 + 1, Record::Json(&record))?;
    }
    Ok(())
}

/// Every element of XML files that the reading's path names; `default` where it names none.
pub fn xml_files(
    path: &Path,
    reading: &Reading,
    default: Option<&str>,
    each: &mut EachRecord<'_>,
) -> Result<()> {
    let wanted = reading.path.as_deref().or(default);
    let mut line = 0;
    for file in files(path, "xml")? {
        let shown = file.display().to_string();
        let text = whole(&file)?;
        let read = xml::each(&text, wanted, &mut |record| {
            line += 1;
            each(line, Record::Json(record))
        });
        let count = read.map_err(|error| match error {
            xml::Wrong::Xml(what) => wrong(&shown, what).into(),
            xml::Wrong::Record(error) => error,
        })?;
        // An annotation without objects is one of a picture where nothing is.
        if count == 0 && default.is_some() && reading.path.is_none() {
            let read =
                xml::each(&format!("<x>{}</x>", without_declaration(&text)), None, &mut |record| {
                    line += 1;
                    each(line, Record::Json(record))
                });
            read.map_err(|error| match error {
                xml::Wrong::Xml(what) => wrong(&shown, what).into(),
                xml::Wrong::Record(error) => error,
            })?;
        }
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

/// YOLO: a record for every line of every text: the path without its ending, the class by number and name, and the box, or
/// the points of an outline.
pub fn yolo(path: &Path, each: &mut EachRecord<'_>) -> Result<()> {
    let names = class_names(path);
    let root = if path.is_dir() { path } else { path.parent().unwrap_or(path) };
    let mut count = 0;
    for file in files(path, "txt")? {
        if file.file_name().is_some_and(|name| name == "classes.txt") {
            continue;
        }
        let shown = file.display().to_string();
        let stem = file.strip_prefix(root).unwrap_or(&file).with_extension("");
        let text = whole(&file)?;
        let mut is_empty = true;
        for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
            is_empty = false;
            let wrong = |what: &str| {
                let (file, line) = (shown.clone(), number as u64 + 1);
                Error::Line { file, line, what: what.to_owned() }
            };
            let mut words = line.split_whitespace();
            let class: Option<u64> = words.next().and_then(|word| word.parse().ok());
            let class = class.ok_or_else(|| wrong("expected the number of a class"))?;
            let numbers: Option<Vec<f64>> = words.map(|word| word.parse().ok()).collect();
            let numbers = numbers.filter(|numbers| numbers.iter().all(|x| x.is_finite()));
            let numbers = numbers.ok_or_else(|| wrong("expected numbers behind the class"))?;
            let label = names.get(usize::try_from(class).unwrap_or(usize::MAX));
            let mut record =
                json!({"stem": stem.to_string_lossy(), "class": class, "label": label});
            match numbers[..] {
                [x, y, width, height] => {
                    record["box"] = json!({"x": x, "y": y, "width": width, "height": height})
                }
                [x, y, width, height, confidence] => {
                    record["box"] = json!({"x": x, "y": y, "width": width, "height": height});
                    record["confidence"] = json!(confidence);
                }
                _ if numbers.len() >= 6 => record["points"] = json!(numbers),
                _ => {
                    return Err(wrong(
                        "expected four numbers of a box, or the points of an outline",
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
            record.insert("stem".to_owned(), Json::from(stem.to_string_lossy()));
            count += 1;
            each(count, Record::Json(&record))?;
        }
    }
    Ok(())
}

/// The names of classes in `classes.txt` or `data.yaml`, beside the labels or up to two folders above.
fn class_names(path: &Path) -> Vec<String> {
    for folder in path.ancestors().take(3) {
        if let Ok(text) = whole(&folder.join("classes.txt")) {
            return text.lines().map(|line| line.trim().to_owned()).collect();
        }
        if let Ok(text) = whole(&folder.join("data.yaml")) {
            return yaml_names(&text);
        }
    }
    Vec::new()
}

/// `names:` of a `data.yaml`: a list in brackets, lines `- dog`, or lines `0: dog`.
fn yaml_names(text: &str) -> Vec<String> {
    let plain = |text: &str| text.trim().trim_matches(['"', '\'']).to_owned();
    let mut lines = text.lines().skip_while(|line| !line.starts_with("names:"));
    let first = lines.next().unwrap_or_default().trim_start_matches("names:").trim();
    if let Some(inside) = first.strip_prefix('[') {
        return inside.trim_end_matches(']').split(',').map(plain).collect();
    }
    let below = lines.take_while(|line| line.starts_with([' ', '-']) && !line.trim().is_empty());
    let name = |line: &str| match line.trim().strip_prefix('-') {
        Some(name) => plain(name),
        None => plain(line.split_once(':').map_or(line, |(_, name)| name)),
    };
    below.map(name).collect()
}

/// The file, or the files of this ending below a folder, in order.
fn files(path: &Path, ending: &str) -> Result<Vec<PathBuf>> {
    let shown = path.display().to_string();
    let unread = |cause| Error::Unread { file: shown.clone(), cause };
    if !fs::metadata(path).map_err(unread)?.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let (mut found, mut folders) = (Vec::new(), vec![path.to_owned()]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).map_err(unread)? {
            let entry = entry.map_err(unread)?;
            let kind = entry.file_type().map_err(unread)?;
            let path = entry.path();
            let is_wanted = path.extension().is_some_and(|own| own.eq_ignore_ascii_case(ending));
            if kind.is_dir() {
                folders.push(path);
            } else if is_wanted && (kind.is_file() || path.is_file()) {
                found.push(path);
            }
        }
        if found.len() > MOST_FILES {
            return Err(wrong(&shown, format!("it has more than {MOST_FILES} files")).into());
        }
    }
    if found.is_empty() {
        return Err(wrong(&shown, format!("there is no `.{ending}` file in it")).into());
    }
    found.sort();
    Ok(found)
}

fn whole(path: &Path) -> Result<String> {
    let shown = path.display().to_string();
    let unread = |cause| Error::Unread { file: shown.clone(), cause };
    let mut bytes = Vec::new();
    File::open(path).map_err(unread)?.take(LONGEST).read_to_end(&mut bytes).map_err(unread)?;
    if bytes.len() as u64 == LONGEST {
        return Err(wrong(&shown, format!("it is longer than {} MiB", LONGEST >> 20)).into());
    }
    Ok(String::from_utf8(bytes).map_err(|_| wrong(&shown, "it is not UTF-8"))?)
}
