//! Settings of a user of ClickHouse that would change answers without an error.

/// Counts such settings, in one row that no `limit` can cut: those that truncate results, those that make aggregates of no
/// rows NULL, and whether NULL may be compared: without the analyzer, several `=` joined by OR become a set.
///
/// `countIf` works under any of them; `groupArray` would not.
pub const COUNTED: &str = "SELECT countIf((name LIKE '%overflow_mode%' AND value IN ('break', 'any')) OR (name IN ('limit', 'offset') AND value != '0')), \
    countIf(name = 'aggregate_functions_null_for_empty' AND value != '0'), \
    countIf(name = 'transform_null_in' AND value != '0') > countIf(name IN ('allow_experimental_analyzer', 'enable_analyzer') AND value != '0') \
    FROM system.settings FORMAT TSV";

/// Describes what the settings do to answers, from the result of [`COUNTED`]; `None` if they change nothing.
pub fn misleading(counted: &str) -> Option<&'static str> {
    const TRUNCATE: &str =
        "truncate answers (`..._overflow_mode = 'break'` or `'any'`, `limit` or `offset`)";
    let counts: Vec<bool> = counted.trim().split('\t').map(|count| count != "0").collect();
    // A result without the row was truncated itself.
    let [false, empty, compare] = counts[..] else { return Some(TRUNCATE) };
    match (empty, compare) {
        (true, true) => Some(
            "change what NULL is (`aggregate_functions_null_for_empty`, and `transform_null_in` without `enable_analyzer`)",
        ),
        (true, false) => {
            Some("make aggregates of no rows NULL (`aggregate_functions_null_for_empty`)")
        }
        (false, true) => Some("compare NULL (`transform_null_in` without `enable_analyzer`)"),
        (false, false) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_that_change_answers_are_told() {
        assert_eq!(misleading("0\t0\t0\n"), None);
        for (counted, said) in [
            ("2\t0\t0\n", "truncate"),
            ("1\t1\t1\n", "truncate"),
            ("", "truncate"),
            ("0\t1\t0\n", "make aggregates"),
            ("0\t0\t1\n", "compare NULL"),
            ("0\t1\t1\n", "change what NULL is"),
            ("0\n", "truncate"),
        ] {
            let odd = misleading(counted).unwrap_or_default();
            assert!(odd.starts_with(said), "{counted:?}: {odd}");
        }
    }
}
