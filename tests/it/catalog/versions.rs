//! The visible versions, how they are requested, and their properties.

use dcfs_core::error::Kind;
use dcfs_core::id::RowId;
use dcfs_data::catalog::Job;

use super::{failure, find, names, new, open};
use crate::support::catalog::{Cell, file, row};

#[test]
fn only_complete_versions_of_peoples_datasets_are_shown() {
    let (_dir, writer) = new();
    let save = |name: &str, version: &str| writer.dataset(name).version(version).save();
    save("b", "1.0.10");
    save("b", "1.0.9");
    save("a", "1.0.0");
    save("lst__s3://bucket/", "1.0.0");
    save("session_tmp_0123ab_4567cd", "1.0.0");
    writer.dataset("other").in_project("system", "listing").version("1.0.0").save();
    writer.dataset("eeg").in_project("team", "brain").version("2.0.0").save();
    for status in [1, 2, 3, 6, 7, 8] {
        writer.dataset("b").version(&format!("2.0.{status}")).status(status).save();
    }
    writer.dataset("b").version("3.0").save();
    writer.dataset("b").version("4.0.0").uuid(Cell::Text(Vec::new())).save();
    let catalog = open(&writer);
    assert_eq!(names(&catalog), ["b@1.0.9", "b@1.0.10", "a@1.0.0", "team.brain.eeg@2.0.0"]);
}

#[test]
fn a_version_tells_its_counts_and_times() {
    let (_dir, writer) = new();
    let rows = [row().file(file("s3://b", "a").size(3)), row().file(file("s3://b", "c").size(4))];
    writer.dataset("pets").version("1.0.0").file_column("file").rows(rows).save();
    let catalog = open(&writer);
    let pets = find(&catalog, "pets");
    assert_eq!((pets.rows, pets.size), (Some(2), Some(7)));
    assert_eq!(
        pets.created_at.map(|t| t.to_string()).as_deref(),
        Some("2024-01-02 03:04:05.123456 UTC")
    );
    writer.sql("UPDATE datasets_versions SET num_objects = -1, size = 'x', created_at = 7.5");
    let pets = find(&catalog, "pets");
    assert_eq!((pets.rows, pets.size, pets.created_at), (None, None, None));
}

#[test]
fn what_is_asked_for_is_found_or_the_reason_told() {
    let (dir, writer) = new();
    for version in ["1.0.0", "1.0.1", "1.1.0", "2.0.0"] {
        writer.dataset("pets").version(version).save();
    }
    writer.dataset("pots").version("1.0.0").save();
    writer.dataset("PETS").in_project("team", "brain").version("1.0.0").save();
    writer.dataset("gone").version("1.0.0").status(8).save();
    writer.dataset("young").version("1.0.0").status(1).save();
    writer.dataset("session_x").version("1.0.0").save();
    let catalog = open(&writer);
    let good = [
        ("pets", "pets@2.0.0"),
        ("pets@latest", "pets@2.0.0"),
        ("pets@1", "pets@1.1.0"),
        ("pets@1.0", "pets@1.0.1"),
        ("pets@1.0.0", "pets@1.0.0"),
        ("local.local.pets@2", "pets@2.0.0"),
        ("team.brain.PETS", "team.brain.PETS@1.0.0"),
    ];
    for (asked, found) in good {
        assert_eq!(find(&catalog, asked).to_string(), found, "{asked}");
    }
    let bad = [
        ("pets@3", "`pets` has no version 3; the latest is 2.0.0"),
        ("pets@1.2", "`pets` has no version 1.2; the latest is 2.0.0"),
        ("petz", "no dataset `petz`; did you mean `pets`?"),
        ("Pets", "no dataset `Pets`; did you mean `pets` or `pots`?"),
        ("zebra", "no dataset `zebra`; `dcfs ls` lists what there is"),
        ("gone", "every version of `gone` has been removed"),
        ("young", "`young` has no complete version yet; its script has not finished, or failed"),
        ("session_x", "no dataset `session_x`; `dcfs ls` lists what there is"),
    ];
    for (asked, message) in bad {
        let found = catalog.find(&asked.parse().expect(asked));
        assert_eq!(failure(found, dir.path()), (Kind::Missing, message.into()), "{asked}");
    }
}

#[test]
fn names_of_any_characters_are_read() {
    let (_dir, writer) = new();
    let names =
        ["a b", "a/b\\c", "\"; DROP TABLE meta; --", "a\nb", "\u{1f600}\u{e9}", "%_*?", "'"];
    for name in names {
        let rows = [row().file(file("s3://b", name))];
        writer.dataset(name).version("1.0.0").file_column("file").rows(rows).save();
    }
    let catalog = open(&writer);
    let versions = catalog.versions().expect("versions");
    assert_eq!(versions.len(), names.len());
    for (version, name) in versions.iter().zip(names) {
        assert_eq!(version.dataset.name, name);
        let schema = catalog.schema(version).expect(name);
        let mut paths = Vec::new();
        let each = &mut |row: dcfs_data::catalog::Row<'_>| {
            paths.extend(row.objects[0].as_ref().map(|object| object.path.clone()));
            Ok(())
        };
        catalog.scan(version, &schema.files, RowId::ALL, each).expect(name);
        assert_eq!(paths, [name.as_bytes()]);
    }
}

#[test]
fn older_catalogs_lack_columns() {
    let (dir, writer) = new();
    let rows = [row().file(file("s3://b", "a"))];
    let version = writer.dataset("pets").version("1.0.0").script("x").job("j", "3");
    version.file_column("file").rows(rows).save();
    writer.sql(
        "DROP INDEX uq_datasets_uuid; ALTER TABLE datasets DROP COLUMN uuid;
         ALTER TABLE datasets DROP COLUMN attrs; ALTER TABLE datasets DROP COLUMN description;
         DROP INDEX dc_idx_dvj_query; DROP TABLE dataset_version_jobs;
         DROP TABLE datasets_dependencies; ALTER TABLE jobs DROP COLUMN python_version;",
    );
    let optional = [
        "removed_at",
        "pending_metadata_drop",
        "content_hash",
        "job_id",
        "num_objects",
        "size",
        "created_at",
        "finished_at",
        "query_script",
        "feature_schema",
        "schema",
        "preview",
    ];
    for column in optional {
        writer.sql(&format!("ALTER TABLE datasets_versions DROP COLUMN {column}"));
    }
    let catalog = open(&writer);
    let pets = find(&catalog, "pets");
    assert_eq!((pets.rows, pets.size, pets.created_at, pets.finished_at), (None, None, None, None));
    assert_eq!(catalog.details(&pets).expect("details"), dcfs_data::catalog::Details::default());
    assert_eq!(catalog.parents(pets.id).expect("parents"), []);
    let schema = catalog.schema(&pets).expect("a schema");
    assert_eq!(schema.files.len(), 1, "flat columns tell a File");
    assert_eq!(catalog.extent(&pets).expect("an extent").0, 1);

    writer.sql("ALTER TABLE namespaces RENAME COLUMN name TO title");
    let message = "the catalog `/.datachain/db` lacks `namespaces.name`; open it once with a current \
                   DataChain, which adds what an older one left out";
    assert_eq!(failure(catalog.versions(), dir.path()), (Kind::Broken, message.into()));
}

#[test]
fn a_catalog_that_is_being_made_is_empty() {
    let (_dir, writer) = new();
    writer.sql("DELETE FROM meta; DROP TABLE namespaces");
    assert_eq!(names(&open(&writer)), Vec::<String>::new());
}

#[test]
fn tells_the_script_the_job_and_what_is_said_of_the_name() {
    let (_dir, writer) = new();
    let dataset = writer.dataset("pets").description("Cats & dogs").attrs("[\"NLP\",\"a\\/b\"]");
    dataset.version("1.0.0").script("import datachain").job("/home/x/pets.py", "3.11").save();
    writer.dataset("bare").version("1.0.0").save();
    writer.sql(
        "INSERT INTO jobs (id, name, status, created_at, query, query_type, workers, error_message,
             error_stack, params, metrics, is_remote_execution)
         VALUES ('by id', 'old.py', 5, '', '', 1, 1, '', '', '{}', '{}', 0)",
    );
    let catalog = open(&writer);
    let details = catalog.details(&find(&catalog, "pets")).expect("details");
    assert_eq!(details.description.as_deref(), Some("Cats & dogs"));
    assert_eq!(details.attrs, ["NLP", "a/b"]);
    assert_eq!(details.script, "import datachain");
    let job = Job { name: "/home/x/pets.py".into(), python_version: Some("3.11".into()) };
    assert_eq!(details.job, Some(job));

    let bare = find(&catalog, "bare");
    assert_eq!(catalog.details(&bare).expect("details").job, None);
    writer.sql("UPDATE datasets_versions SET job_id = 'by id' WHERE job_id IS NULL");
    let job = catalog.details(&bare).expect("details").job;
    assert_eq!(job, Some(Job { name: "old.py".into(), python_version: None }));
}

#[test]
fn parents_may_be_listings_or_removed_or_only_a_fact() {
    let (_dir, writer) = new();
    let listing = writer.dataset("lst__s3://b/").in_project("system", "listing");
    let listing = listing.version("1.0.0").file_column("file").save();
    let removed = writer.dataset("old").version("1.0.0").rows([row()]).save();
    let child = writer.dataset("pets").version("1.0.0");
    child.parent(listing).parent(removed).parent(None).parent(999).save();
    writer.remove(removed);
    let catalog = open(&writer);
    let parents = catalog.parents(find(&catalog, "pets").id).expect("parents");
    let told: Vec<(Option<String>, bool, Option<u64>)> = parents
        .iter()
        .map(|p| (p.dataset.as_ref().map(|(n, v)| format!("{n}@{v}")), p.alive, p.rows))
        .collect();
    let want = [
        (Some("system.listing.lst__s3://b/@1.0.0".into()), true, Some(0)),
        (Some("old@1.0.0".into()), false, Some(1)),
        (None, false, None),
        (None, false, None),
    ];
    assert_eq!(told, want);
    let listing = parents[0].id.expect("a key");
    assert_eq!(catalog.parents(listing).expect("parents"), []);
}
