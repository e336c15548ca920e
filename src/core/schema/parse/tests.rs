use super::*;

use proptest::prelude::*;
use serde_json::json;

/// A table's columns from `name` or `name TYPE`, separated by commas.
fn table(columns: &str) -> Vec<(String, String)> {
    let columns = columns.split(',').map(str::trim).filter(|c| !c.is_empty());
    let parts = columns.map(|column| column.split_once(' ').unwrap_or((column, "VARCHAR")));
    parts.map(|(name, declared)| (name.into(), declared.into())).collect()
}

/// `name:type`, `?` if it may be NULL, `-` if hidden, `=column` of a leaf; for a model `{..}`, `*`
/// if it is a File, `!tag`.
fn show(fields: &[Field]) -> String {
    let texts = fields.iter().map(|field| {
        let marks = [(field.optional, "?"), (field.hidden, "-")];
        let marks: String = marks.iter().filter(|(on, _)| *on).map(|(_, mark)| *mark).collect();
        let shape = match &field.shape {
            Shape::Column { column, .. } => format!("={column}"),
            Shape::Model { model, file, fields, tag } => {
                let file = if *file { "*" } else { "" };
                let tag = tag.as_ref().map(|tag| format!("!{tag}")).unwrap_or_default();
                format!("={model}{file}{tag}{{{}}}", show(fields))
            }
        };
        format!("{}:{}{marks}{shape}", field.name, field.type_text)
    });
    texts.collect::<Vec<_>>().join(" ")
}

fn show_file(file: &FileColumn) -> String {
    let parts = [
        &file.source,
        &file.path,
        &file.size,
        &file.version,
        &file.etag,
        &file.last_modified,
        &file.location,
    ];
    let parts: Vec<&str> = parts.iter().map(|part| part.as_deref().unwrap_or("-")).collect();
    format!("{file}({})", parts.join(" "))
}

fn read(features: &Value, types: &Value, columns: &str) -> Schema {
    let (features, types) = (features.to_string(), types.to_string());
    schema(&features, &types, &table(columns)).unwrap_or_else(|e| panic!("{features}: {e}"))
}

#[test]
fn unfolds_models_over_the_columns_there_are() {
    let file = json!({"schema_version": 2, "name": "File@v1",
        "fields": {"source": "str", "path": "str", "size": "int"},
        "bases": [["File", "datachain.lib.file", "File@v1"]], "hidden_fields": ["source"]});
    let ann = json!({"schema_version": 2, "name": "Ann@v1", "bases": [], "hidden_fields": [],
        "fields": {"box": "Optional[BBox]", "boxes": "list[BBox]", "kind": "Literal",
            "name": "Optional[str]"}});
    let bbox = json!({"x": "int", "y": "float"});
    let custom = json!({"File@v1": file, "Ann@v1": ann, "BBox": bbox});
    let cases = [
        (
            "plain columns",
            json!({"n": "int", "c": "Optional[int]"}),
            "n INTEGER,c",
            "n:int=n c:Optional[int]?=c",
        ),
        (
            "a model, a hidden field, one that an old table lacks",
            json!({"file": "File@v1", "_custom_types": custom}),
            "sys__id,sys__rand,file__source,file__path",
            "file:File@v1=File*{source:str-=file__source path:str=file__path}",
        ),
        (
            "an optional model in a model, a list of models, null by `schema`",
            json!({"ann": "Ann@v1", "_custom_types": custom}),
            "ann__box___type_tag,ann__box__x,ann__box__y,ann__boxes,ann__kind,ann__name",
            "ann:Ann@v1=Ann{box:Optional[BBox]?=BBox!ann__box___type_tag{x:int?=ann__box__x \
             y:float=ann__box__y} boxes:list[BBox]=ann__boxes kind:Literal=ann__kind \
             name:Optional[str]?=ann__name}",
        ),
        (
            "an optional model from before tags",
            json!({"b": "Union[BBox, NoneType]", "_custom_types": custom}),
            "b__x",
            "b:Union[BBox, NoneType]?=BBox{x:int=b__x}",
        ),
        (
            "models of DataChain's own, not told",
            json!({"frag": "AudioFragment@v1"}),
            "frag__audio__path,frag__audio__etag,frag__start",
            "frag:AudioFragment@v1=AudioFragment{audio:AudioFile@v1=AudioFile*\
             {path:str=frag__audio__path etag:str-=frag__audio__etag} start:float=frag__start}",
        ),
        (
            "what the models do not know comes last, flat, with the type stored or declared",
            json!({"n": "int", "gone": "int", "odd": "Nobody@v1", "bad": 7}),
            "emb ARRAY,n INTEGER,odd__x FLOAT,bad",
            "n:int=n emb:Array[Float]=emb odd__x:FLOAT=odd__x bad:VARCHAR=bad",
        ),
        ("no models at all", json!({}), "a__x INTEGER,b", "a__x:INTEGER=a__x b:VARCHAR=b"),
        (
            "a model kept in one JSON column",
            json!({"b": "BBox", "_custom_types": custom}),
            "b JSON",
            "b:BBox=b",
        ),
        ("no type at all", json!({"a": "list[", "b": ""}), "a,b", "a:list[=a b:=b"),
        (
            "case tells columns apart",
            json!({"A": "int", "_custom_types": custom}),
            "a",
            "a:VARCHAR=a",
        ),
        (
            "a model that takes a plain type's name is not believed",
            json!({"a": "int", "_custom_types": {"int": {"x": "str"}}}),
            "a__x,a",
            "a:int=a a__x:VARCHAR=a__x",
        ),
    ];
    let types = json!({"emb": {"type": "Array", "item_type": {"type": "Float"}},
        "ann__box__x": {"type": "Int64", "dc_nullable": true}, "bad": "?", "odd__x": {"type": 1}});
    for (what, features, columns, want) in cases {
        assert_eq!(show(&read(&features, &types, columns).signals), want, "{what}");
    }
}

#[test]
fn finds_every_file() {
    let pair =
        json!({"schema_version": 2, "fields": {"left": "File@v1", "right": "Optional[File@v1]"}});
    let framed = json!({"schema_version": 2, "fields": {"path": "str", "mask": "File@v1"},
        "bases": [["File", "datachain.lib.file", "File@v1"]]});
    let cases = [
        (
            json!({"file": "File@v1"}),
            "file__source,file__path,file__size,file__version,file__etag,file__is_latest,\
             file__last_modified,file__location",
            "file(file__source file__path file__size file__version file__etag file__last_modified \
             file__location)",
        ),
        (
            json!({"pair": "Pair", "_custom_types": {"Pair": pair}}),
            "pair__left__source,pair__left__path,pair__right___type_tag,pair__right__path",
            "pair.left(pair__left__source pair__left__path - - - - -) \
             pair.right(- pair__right__path - - - - -)",
        ),
        (
            json!({"a": "Framed", "_custom_types": {"Framed": framed}}),
            "a__mask__path,a__path",
            "a(- a__path - - - - -) a.mask(- a__mask__path - - - - -)",
        ),
        (json!({"files": "list[File@v1]"}), "files ARRAY", ""),
        (
            json!({}),
            "a__b__source,a__b__path,a__b__size,c__path,path,source",
            "a.b(a__b__source a__b__path a__b__size - - - -)",
        ),
        (
            json!({"file": "File@v1"}),
            "x__source,x__path,file__path",
            "file(- file__path - - - - -) x(x__source x__path - - - - -)",
        ),
    ];
    for (features, columns, want) in cases {
        let schema = read(&features, &json!({}), columns);
        let files: Vec<String> = schema.files.iter().map(show_file).collect();
        assert_eq!(files.join(" "), want, "{features}");
    }
}

#[test]
fn texts_may_be_missing() {
    for (features, types) in [("", ""), ("null", " "), ("{}", "null")] {
        let schema = schema(features, types, &table("sys__id,a INTEGER")).expect(features);
        assert_eq!(show(&schema.signals), "a:INTEGER=a", "{features:?}");
    }
}

#[test]
fn texts_that_are_no_objects_are_told() {
    let cases = [
        ("[]", "{}", "the version's `feature_schema` is not a JSON object: it is a list"),
        ("{}", "\"{}\"", "the version's `schema` is not a JSON object: it is a string"),
        ("7", "", "the version's `feature_schema` is not a JSON object: it is a plain value"),
    ];
    for (features, types, message) in cases {
        let error = schema(features, types, &[]).expect_err(features);
        assert_eq!(error.to_string(), message);
    }
    let error = schema("{", "", &[]).expect_err("cut short").to_string();
    assert!(
        error.starts_with("the version's `feature_schema` is not a JSON object: EOF"),
        "{error}"
    );
}

#[test]
fn a_model_in_itself_ends_where_the_columns_end() {
    let node = json!({"_custom_types": {"Node": {"v": "int", "next": "Node"}}, "n": "Node"});
    let schema = read(&node, &json!({}), "n__v,n__next__v");
    assert_eq!(show(&schema.signals), "n:Node=Node{v:int=n__v next:Node=Node{v:int=n__next__v}}");
}

#[test]
fn unfolding_is_bounded() {
    let node = json!({"_custom_types": {"N": {"a": "N"}}, "a": "N"}).to_string();
    let deep = |n: usize| vec!["a"; n].join("__");
    assert!(schema(&node, "", &table(&deep(DEEPEST + 1))).is_ok());
    assert_eq!(schema(&node, "", &table(&deep(DEEPEST + 2))), Err(Error::TooDeep(DEEPEST)));
    // Each `__` may be crossed as one field or as two: 2^40 ways to the one column there is.
    let wide = json!({"_custom_types": {"N": {"a": "N", "a__a": "N"}}, "a": "N"}).to_string();
    assert_eq!(schema(&wide, "", &table(&format!("{}__b", deep(40)))), Err(Error::TooLarge(MOST)));
}

/// Type texts, signals and columns over few names, so that they collide.
fn hostile() -> impl Strategy<Value = (Value, Vec<(String, String)>)> {
    let name = "(a|b|_|_type_tag|path|source|){1,2}";
    let types = "(Optional\\[)?(A|B|int|File@v1|list\\[A\\])\\]?";
    let model = prop::collection::btree_map(name, types, 0..4);
    let signals = prop::collection::btree_map(name, types, 0..4);
    let column = prop::collection::vec(name, 1..5).prop_map(|parts| parts.join("__"));
    let columns = prop::collection::btree_set(column, 0..12);
    (model.clone(), model, signals, columns).prop_map(|(a, b, signals, columns)| {
        let mut features = json!(signals);
        features["_custom_types"] = json!({"A": a, "B": b});
        (features, columns.into_iter().map(|c| (c, "VARCHAR".into())).collect())
    })
}

/// Every database column that the tree names, tags included.
fn columns_of(fields: &[Field]) -> Vec<String> {
    let of = |field: &Field| match &field.shape {
        Shape::Column { column, .. } => vec![column.clone()],
        Shape::Model { fields, tag, .. } => tag.iter().cloned().chain(columns_of(fields)).collect(),
    };
    fields.iter().flat_map(of).collect()
}

proptest! {
    #[test]
    fn every_column_is_in_the_tree_once((features, table) in hostile()) {
        let schema = schema(&features.to_string(), "", &table);
        let mut found = columns_of(&schema.expect("shallow").signals);
        found.sort();
        let mut columns: Vec<String> = table.into_iter().map(|(name, _)| name).collect();
        columns.sort();
        prop_assert_eq!(found, columns);
    }
}

#[test]
fn a_dot_in_the_name_of_a_signal_is_written_as_the_way_into_a_model() {
    let features = json!({"k": "int", "r.x": "int", "b.c": "str", "p.q": "P@v1",
        "_custom_types": {"P@v1": {"schema_version": 2, "name": "P@v1", "bases": [],
            "hidden_fields": [], "fields": {"z": "int"}}}});
    let found = read(&features, &json!({}), "k, r__x, b.c, p__q__z");
    assert_eq!(show(&found.signals), "k:int=k r.x:int=r__x b.c:str=b.c p.q:P@v1=P{z:int=p__q__z}");
}
