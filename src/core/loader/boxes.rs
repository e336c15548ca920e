//! Boxes, outlines and keypoints of objects in an image, parsed from a column: DataChain's `BBox`,
//! `OBBox`, `Pose`, `Pose3D` and `Segment`, the results of its `Yolo...` models, lists of these,
//! and bare lists of four numbers.

use serde_json::Value;

use super::options::{Error, wrong};

/// The meaning of four numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Corners {
    /// Left, top, right, bottom: DataChain's own, and Pascal VOC's.
    #[default]
    Xyxy,
    /// Left, top, width, height: COCO's.
    Xywh,
    /// Middle, width, height: YOLO's.
    Cxcywh,
}

impl Corners {
    /// Parses the value of an option.
    ///
    /// # Errors
    /// [`Error::Value`].
    pub fn parse(key: &str, value: &str) -> Result<Self, Error> {
        match value {
            "xyxy" => Ok(Self::Xyxy),
            "xywh" => Ok(Self::Xywh),
            "cxcywh" => Ok(Self::Cxcywh),
            _ => Err(wrong(key, value, "boxes are xyxy, xywh or cxcywh")),
        }
    }

    /// Left, top, right, bottom.
    fn edges(self, [a, b, c, d]: [f64; 4]) -> [f64; 4] {
        match self {
            Self::Xyxy => [a, b, c, d],
            Self::Xywh => [a, b, a + c, b + d],
            Self::Cxcywh => [a - c / 2.0, b - d / 2.0, a + c / 2.0, b + d / 2.0],
        }
    }
}

/// The outline of an object.
#[derive(Clone, Debug, PartialEq)]
pub enum Outline {
    /// Left, top, right, bottom.
    Box([f64; 4]),
    /// The corners in order.
    Polygon(Vec<(f64, f64)>),
    /// Keypoints, each with its visibility from 0 to 2.
    Points(Vec<(f64, f64, f64)>),
}

/// An object in an image.
#[derive(Clone, Debug, PartialEq)]
pub struct Mark {
    /// Its class, if the column names one.
    pub class: Option<String>,
    pub outline: Outline,
}

/// The names of the DataChain models that this module reads.
pub const MODELS: [&str; 13] = [
    "BBox",
    "OBBox",
    "Pose",
    "Pose3D",
    "Segment",
    "YoloBBox",
    "YoloBBoxes",
    "YoloOBBox",
    "YoloOBBoxes",
    "YoloPose",
    "YoloPoses",
    "YoloSegment",
    "YoloSegments",
];

/// The objects in a value of such a column; `None` if the value is not of a known form.
pub fn marks(value: &Value, corners: Corners) -> Option<Vec<Mark>> {
    let mut found = Vec::new();
    collect(value, None, corners, &mut found)?;
    Some(found)
}

fn collect(
    value: &Value,
    class: Option<&str>,
    corners: Corners,
    found: &mut Vec<Mark>,
) -> Option<()> {
    match value {
        Value::Null => Some(()),
        Value::Array(items) => {
            if let Some(numbers) = numbers(value).filter(|numbers| !numbers.is_empty()) {
                return flat(&numbers, class, corners, found);
            }
            items.iter().try_for_each(|item| collect(item, class, corners, found))
        }
        Value::Object(of) => {
            let said = ["title", "name", "label", "class"]
                .into_iter()
                .find_map(|key| of.get(key)?.as_str());
            let class = said.filter(|said| !said.is_empty()).or(class);
            // The more exact outline comes first: models store the box beside it.
            let inner =
                ["segment", "segments", "pose", "poses", "obox", "oboxes", "box", "bbox", "boxes"];
            if let Some(below) = inner.into_iter().find_map(|key| of.get(key)) {
                return match (below, of.get("name")) {
                    (Value::Array(below), Some(Value::Array(names))) => {
                        let named = below.iter().enumerate();
                        named
                            .map(|(at, item)| (item, names.get(at).and_then(Value::as_str)))
                            .try_for_each(|(item, name)| {
                                collect(item, name.or(class), corners, found)
                            })
                    }
                    _ => collect(below, class, corners, found),
                };
            }
            if let Some(coords) = of.get("coords") {
                return flat(&numbers(coords)?, class, corners, found);
            }
            points(of, class, found)
        }
        _ => None,
    }
}

/// Four numbers are a box, eight the corners of a rotated one; none is an empty model.
fn flat(
    numbers: &[f64],
    class: Option<&str>,
    corners: Corners,
    found: &mut Vec<Mark>,
) -> Option<()> {
    let outline = match *numbers {
        [] => return Some(()),
        [a, b, c, d] => Outline::Box(corners.edges([a, b, c, d])),
        [_, _, _, _, _, _, _, _] => {
            Outline::Polygon(numbers.chunks_exact(2).map(|point| (point[0], point[1])).collect())
        }
        _ => return None,
    };
    found.push(Mark { class: class.map(str::to_owned), outline });
    Some(())
}

/// `x` and `y`: an outline if there is a title, else keypoints.
fn points(
    of: &serde_json::Map<String, Value>,
    class: Option<&str>,
    found: &mut Vec<Mark>,
) -> Option<()> {
    let (x, y) = (numbers(of.get("x")?)?, numbers(of.get("y")?)?);
    if x.len() != y.len() {
        return None;
    }
    let points = x.into_iter().zip(y);
    if points.len() == 0 {
        return Some(());
    }
    let outline = match of.get("visible") {
        None if of.contains_key("title") => Outline::Polygon(points.collect()),
        visible => {
            let visible = visible.and_then(numbers).unwrap_or_default();
            let seen =
                |at: usize| visible.get(at).map_or(2.0, |seen| if *seen > 0.5 { 2.0 } else { 0.0 });
            Outline::Points(points.enumerate().map(|(at, (x, y))| (x, y, seen(at))).collect())
        }
    };
    found.push(Mark { class: class.map(str::to_owned), outline });
    Some(())
}

fn numbers(value: &Value) -> Option<Vec<f64>> {
    value.as_array()?.iter().map(Value::as_f64).collect()
}

impl Mark {
    /// Scales each coordinate by its axis and clips to an image of this size; `None` if nothing is
    /// left.
    pub fn fitted(
        &self,
        (scale_x, scale_y): (f64, f64),
        (width, height): (f64, f64),
    ) -> Option<Self> {
        let x = |x: f64| (x * scale_x).clamp(0.0, width);
        let y = |y: f64| (y * scale_y).clamp(0.0, height);
        let outline = match &self.outline {
            Outline::Box([left, top, right, bottom]) => {
                Outline::Box([x(*left), y(*top), x(*right), y(*bottom)])
            }
            Outline::Polygon(points) => {
                Outline::Polygon(points.iter().map(|(a, b)| (x(*a), y(*b))).collect())
            }
            Outline::Points(points) => {
                Outline::Points(points.iter().map(|(a, b, seen)| (x(*a), y(*b), *seen)).collect())
            }
        };
        let fitted = Self { class: self.class.clone(), outline };
        let [left, top, right, bottom] = fitted.edges();
        // Also false for NaN.
        (right > left && bottom > top).then_some(fitted)
    }

    /// Left, top, right, bottom.
    pub fn edges(&self) -> [f64; 4] {
        let around = |points: &mut dyn Iterator<Item = (f64, f64)>| {
            let none = [f64::INFINITY, f64::INFINITY, f64::NEG_INFINITY, f64::NEG_INFINITY];
            points.fold(none, |[left, top, right, bottom], (x, y)| {
                [left.min(x), top.min(y), right.max(x), bottom.max(y)]
            })
        };
        match &self.outline {
            Outline::Box(edges) => *edges,
            Outline::Polygon(points) => around(&mut points.iter().copied()),
            // Absent keypoints are at the origin.
            Outline::Points(points) => {
                around(&mut points.iter().filter(|point| point.2 > 0.0).map(|(x, y, _)| (*x, *y)))
            }
        }
    }

    /// The line of a YOLO label file, for coordinates from 0 to 1; `class` is the index of the
    /// class.
    pub fn yolo(&self, class: usize) -> String {
        let mut line = class.to_string();
        let mut put = |number: f64| line += &format!(" {number:.6}");
        let [left, top, right, bottom] = self.edges();
        let middle = |put: &mut dyn FnMut(f64)| {
            [(left + right) / 2.0, (top + bottom) / 2.0, right - left, bottom - top]
                .into_iter()
                .for_each(put);
        };
        match &self.outline {
            Outline::Box(_) => middle(&mut put),
            Outline::Polygon(points) => points.iter().for_each(|(x, y)| {
                put(*x);
                put(*y);
            }),
            Outline::Points(points) => {
                middle(&mut put);
                for (x, y, seen) in points {
                    put(*x);
                    put(*y);
                    put(*seen);
                }
            }
        }
        line.push('\n');
        line
    }

    /// The area of its outline.
    pub fn area(&self) -> f64 {
        let [left, top, right, bottom] = self.edges();
        match &self.outline {
            Outline::Polygon(points) => {
                let next = points.iter().cycle().skip(1);
                let twice: f64 = points.iter().zip(next).map(|(a, b)| a.0 * b.1 - b.0 * a.1).sum();
                twice.abs() / 2.0
            }
            _ => (right - left) * (bottom - top),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn of(value: &Value) -> Vec<Mark> {
        marks(value, Corners::Xyxy).unwrap_or_else(|| panic!("{value}"))
    }

    #[test]
    fn reads_the_models_of_datachain() {
        let bbox = json!({"title": "cat", "coords": [1, 2, 3, 4]});
        let cat = Mark { class: Some("cat".into()), outline: Outline::Box([1.0, 2.0, 3.0, 4.0]) };
        let untitled = json!({"title": "", "coords": [1, 2, 3, 4]});
        for one in [
            bbox.clone(),
            json!({"cls": 1, "name": "cat", "confidence": 0.5, "box": untitled}),
            json!({"cls": [1], "name": ["cat"], "confidence": [0.5], "box": [untitled]}),
        ] {
            assert_eq!(of(&one), std::slice::from_ref(&cat), "{one}");
        }
        assert_eq!(of(&json!([bbox, bbox])), [cat.clone(), cat]);
        assert!(of(&json!({"title": "", "coords": []})).is_empty() && of(&Value::Null).is_empty());
        let turned = of(&json!({"title": "", "coords": [0, 0, 4, 0, 4, 2, 0, 2]}));
        assert_eq!((turned[0].edges(), turned[0].area()), ([0.0, 0.0, 4.0, 2.0], 8.0));
        let segment = of(&json!({"title": "dog", "x": [0, 2, 2], "y": [0, 0, 2]}));
        assert_eq!((segment[0].area(), &segment[0].class), (2.0, &Some("dog".into())));
        let pose = of(&json!({"x": [1, 0], "y": [2, 0], "visible": [0.9, 0.1]}));
        assert_eq!(pose[0].outline, Outline::Points(vec![(1.0, 2.0, 2.0), (0.0, 0.0, 0.0)]));
    }

    #[test]
    fn what_is_no_box_is_none() {
        for value in [
            json!("cat"),
            json!(7),
            json!([1, 2, 3]),
            json!({"coords": ["a"]}),
            json!({"x": [1], "y": []}),
            json!({}),
            json!([["a"]]),
        ] {
            assert_eq!(marks(&value, Corners::Xyxy), None, "{value}");
        }
    }

    #[test]
    fn numbers_mean_what_is_said() {
        let edges = |corners| marks(&json!([[10, 20, 4, 6]]), corners).expect("a box")[0].edges();
        assert_eq!(edges(Corners::Xywh), [10.0, 20.0, 14.0, 26.0]);
        assert_eq!(edges(Corners::Cxcywh), [8.0, 17.0, 12.0, 23.0]);
    }

    #[test]
    fn boxes_stay_within_the_picture() {
        let mark = &of(&json!([[-5, 10, 50, 30]]))[0];
        let fitted = mark.fitted((0.01, 0.02), (1.0, 1.0)).expect("something is left");
        assert_eq!(fitted.yolo(3), "3 0.250000 0.400000 0.500000 0.400000\n");
        for gone in [json!([[-5, 1, -1, 9]]), json!([[1, 1, 1, 9]]), json!([[9, 1, 2, 9]])] {
            assert_eq!(of(&gone)[0].fitted((1.0, 1.0), (10.0, 10.0)), None, "{gone}");
        }
    }
}
