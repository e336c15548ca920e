//! Tests of [`super`]: shapes as DataChain writes and reads them.

use super::*;
use crate::schema::ValueType;

fn table(layout: &Layout) -> Vec<(String, String)> {
    let own = layout.columns.iter().map(|c| (c.name.clone(), c.declared.to_owned()));
    [("sys__id".to_owned(), "INTEGER".to_owned())].into_iter().chain(own).collect()
}

#[test]
fn a_file_is_written_as_datachain_writes_it() {
    let layout = Layout::of_signals(&[Signal::new("file", SignalKind::File)]);
    let features = r#"{"file":"File@v1","_custom_types":{"File@v1":{"schema_version":2,"name":"File@v1","fields":{"source":"str","path":"str","size":"int","version":"str","etag":"str","is_latest":"bool","last_modified":"datetime","location":"Union[dict, list[dict], NoneType]"},"bases":[["File","datachain.lib.file","File@v1"],["DataModel","datachain.lib.data_model","DataModel@v1"],["BaseModel","pydantic.main",null],["object","builtins",null]],"hidden_fields":["source","version","etag","is_latest","last_modified","location"]}}}"#;
    let types = r#"{"sys__id":{"type":"UInt64"},"sys__rand":{"type":"UInt64"},"file__source":{"type":"String"},"file__path":{"type":"String"},"file__size":{"type":"Int64"},"file__version":{"type":"String"},"file__etag":{"type":"String"},"file__is_latest":{"type":"Boolean"},"file__last_modified":{"type":"DateTime"},"file__location":{"type":"JSON"}}"#;
    assert_eq!((layout.features.as_str(), layout.types.as_str()), (features, types));
    assert_eq!(layout.sizes, ["file__size"]);
    let again = Layout::of_version(features, types, &table(&layout)).expect("a layout");
    assert_eq!(again, layout);
}

#[test]
fn what_is_made_reads_back_the_same() {
    let signals = [
        Signal::new("file", SignalKind::File),
        Signal::optional("info", SignalKind::Image),
        Signal::optional("n", SignalKind::Scalar(Scalar::Int)),
        Signal::new(
            "mine",
            SignalKind::Model(vec![
                Signal::new("tags", SignalKind::list_of(Scalar::Text)),
                Signal::optional("d", SignalKind::Dict),
            ]),
        ),
    ];
    let layout = Layout::of_signals(&signals);
    let schema = Schema::parse(&layout.features, &layout.types, &table(&layout)).expect("a schema");
    let names: Vec<String> = schema.leaves().into_iter().map(|leaf| leaf.name).collect();
    let tail = &names[8..];
    assert_eq!(tail, ["info.width", "info.height", "info.format", "n", "mine.tags", "mine.d"]);
    assert!(schema.signals[1].optional && schema.signals[2].optional);
    let tag = layout.columns.iter().position(|column| column.name == "info___type_tag");
    assert_eq!(tag, Some(8), "the tag comes first");
}

#[test]
fn a_list_of_models_has_one_column_and_a_model() {
    let point = SignalKind::Model(vec![
        Signal::new("x", SignalKind::Scalar(Scalar::Int)),
        Signal::optional("y", SignalKind::Scalar(Scalar::Float)),
    ]);
    let line = SignalKind::Model(vec![
        Signal::new("label", SignalKind::Scalar(Scalar::Text)),
        Signal::new("points", SignalKind::List(Box::new(point))),
    ]);
    let layout = Layout::of_signals(&[Signal::new("lines", SignalKind::List(Box::new(line)))]);
    assert_eq!(layout.columns, [NewColumn { name: "lines".into(), declared: "ARRAY" }]);
    let types: Value = serde_json::from_str(&layout.types).expect("JSON");
    assert_eq!(types["lines"], json!({"type": "Array", "item_type": {"type": "JSON"}}));
    let schema = Schema::parse(&layout.features, &layout.types, &table(&layout)).expect("a schema");
    let point =
        ValueType::Model(vec![("x".into(), ValueType::Int), ("y".into(), ValueType::Float)]);
    let points = ValueType::List(Box::new(point));
    let line = ValueType::Model(vec![("label".into(), ValueType::Text), ("points".into(), points)]);
    let leaves = schema.leaves();
    assert_eq!(leaves.len(), 1);
    assert_eq!(*leaves[0].value, ValueType::List(Box::new(line)));
}

#[test]
fn models_of_other_fields_have_other_names() {
    let signal = |kind| Signal::new("m", SignalKind::Model(vec![Signal::new("a", kind)]));
    let text = |signal: Signal| Building::default().add("", &signal, false);
    let model = |scalar| text(signal(SignalKind::Scalar(scalar)));
    assert_eq!(model(Scalar::Int), model(Scalar::Int));
    assert_ne!(model(Scalar::Int), model(Scalar::Text));
}

#[test]
fn nan_below_an_optional_model_is_nothing() {
    let fields = vec![Signal::new("x", SignalKind::Scalar(Scalar::Float))];
    let signals = [
        Signal::new("plain", SignalKind::Model(fields.clone())),
        Signal::optional("maybe", SignalKind::Model(fields)),
    ];
    let features: Value =
        serde_json::from_str(&Layout::of_signals(&signals).features).expect("JSON");
    let text = |name: &str| features[name].as_str().expect("a type").to_owned();
    let field = |name: String| features["_custom_types"][&name]["fields"]["x"].clone();
    let inner = text("maybe").replace("Optional[", "").replace(']', "");
    assert_eq!(field(text("plain")), "float");
    assert_eq!(field(inner), "Optional[float]");
}

#[test]
fn a_strangers_declaration_never_becomes_sql() {
    let odd = "INT); DROP TABLE x; --";
    let table = [("a".to_owned(), odd.to_owned()), ("b".to_owned(), "varchar".to_owned())];
    let layout = Layout::of_version("", "", &table).expect("a layout");
    let declared: Vec<&str> = layout.columns.iter().map(|column| column.declared).collect();
    assert_eq!(declared, ["", "VARCHAR"]);
    assert_eq!(layout.features, "{}");
}
