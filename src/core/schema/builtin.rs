//! DataChain's built-in models: schemas may name them without listing their fields.
//!
//! As of DataChain 0.62. A model that is neither here nor in the schema leaves its columns flat.

/// A model's `(field, type text)` in order.
type Fields = &'static [(&'static str, &'static str)];

/// One of DataChain's built-in models.
#[derive(Debug)]
pub(super) struct Builtin {
    pub fields: Fields,
    /// Whether it is a File; if so, all fields but [`SHOWN`] are hidden.
    pub file: bool,
}

/// The only fields of a File that DataChain prints.
pub(super) const SHOWN: [&str; 2] = ["path", "size"];

/// The names of all File models. A partial one is named `<kind>Partial_<hash>`.
pub(super) const FILES: [&str; 5] = ["File", "TextFile", "ImageFile", "VideoFile", "AudioFile"];

const FILE: Fields = &[
    ("source", "str"),
    ("path", "str"),
    ("size", "int"),
    ("version", "str"),
    ("etag", "str"),
    ("is_latest", "bool"),
    ("last_modified", "datetime"),
    ("location", "Union[dict, list[dict], NoneType]"),
];

const MODELS: &[(&str, Fields)] = &[
    ("Image", &[("width", "int"), ("height", "int"), ("format", "str")]),
    (
        "Video",
        &[
            ("width", "int"),
            ("height", "int"),
            ("fps", "float"),
            ("duration", "float"),
            ("frames", "int"),
            ("format", "str"),
            ("codec", "str"),
        ],
    ),
    (
        "Audio",
        &[
            ("sample_rate", "int"),
            ("channels", "int"),
            ("duration", "float"),
            ("samples", "int"),
            ("format", "str"),
            ("codec", "str"),
            ("bit_rate", "int"),
        ],
    ),
    (
        "VideoFrame",
        &[
            ("video", "VideoFile@v1"),
            ("frame", "int"),
            ("video_stream_index", "int"),
            ("timestamp", "float"),
        ],
    ),
    ("VideoFragment", &[("video", "VideoFile@v1"), ("start", "float"), ("end", "float")]),
    ("AudioFragment", &[("audio", "AudioFile@v1"), ("start", "float"), ("end", "float")]),
    ("ArrowRow", &[("file", "File@v1"), ("index", "int"), ("kwargs", "dict")]),
    ("BBox", &[("title", "str"), ("coords", "list[int]")]),
    ("OBBox", &[("title", "str"), ("coords", "list[int]")]),
    ("Pose", &[("x", "list[int]"), ("y", "list[int]")]),
    ("Pose3D", &[("x", "list[int]"), ("y", "list[int]"), ("visible", "list[float]")]),
    ("Segment", &[("title", "str"), ("x", "list[int]"), ("y", "list[int]")]),
    ("WDSBasic", &[("file", "File@v1")]),
];

/// The model called `name`, without its `@v1`.
pub(super) fn model(name: &str) -> Option<Builtin> {
    if FILES.contains(&name) {
        return Some(Builtin { fields: FILE, file: true });
    }
    let (_, fields) = MODELS.iter().find(|(own, _)| *own == name)?;
    Some(Builtin { fields, file: false })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_every_kind_and_nothing_else_are_files() {
        for name in FILES {
            assert!(model(name).is_some_and(|m| m.file && m.fields.len() == 8), "{name}");
        }
        assert!(model("AudioFragment").is_some_and(|m| !m.file));
        for name in ["", "int", "Mine", "file"] {
            assert!(model(name).is_none(), "{name}");
        }
    }
}
