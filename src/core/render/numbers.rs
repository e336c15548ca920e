//! Sizes and counts for people.

/// `10,000`.
pub fn count(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.char_indices() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// `4.2 MiB`; whole bytes below 1 KiB.
pub fn bytes(n: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if n < 1024 {
        return format!("{n} B");
    }
    // The unit in which the printed number is below 1,000, so that `1023.9 KiB` cannot occur.
    let mut value = n as f64 / 1024.0;
    let mut unit = 0;
    while value >= 999.95 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    format!("{value:.1} {}", UNITS[unit])
}

/// `1 row`, `1,200 rows`, `2 entries`; `noun` is the singular.
pub fn counted(n: u64, noun: &str) -> String {
    match (n, noun.strip_suffix('y')) {
        (1, _) => format!("1 {noun}"),
        (_, Some(stem)) => format!("{} {stem}ies", count(n)),
        (_, None) => format!("{} {noun}s", count(n)),
    }
}

/// `one` if `n` is 1, else `more`: `is` and `are`.
pub fn verb<'w>(n: u64, one: &'w str, more: &'w str) -> &'w str {
    if n == 1 { one } else { more }
}

/// `3 objects, 1.5 MiB`.
pub fn objects(n: u64, size: u64) -> String {
    format!("{}, {}", counted(n, "object"), bytes(size))
}

/// `+1,200`, `-3`, `no change`.
pub fn difference(before: u64, after: u64, print: fn(u64) -> String) -> String {
    match after.cmp(&before) {
        std::cmp::Ordering::Greater => format!("+{}", print(after - before)),
        std::cmp::Ordering::Less => format!("-{}", print(before - after)),
        std::cmp::Ordering::Equal => "no change".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_have_separators() {
        let cases = [
            (0, "0"),
            (999, "999"),
            (1_000, "1,000"),
            (10_000, "10,000"),
            (1_234_567, "1,234,567"),
            (u64::MAX, "18,446,744,073,709,551,615"),
        ];
        for (n, text) in cases {
            assert_eq!(count(n), text);
        }
    }

    #[test]
    fn one_thing_is_not_many() {
        let cases = [
            (0, "row", "0 rows"),
            (1, "row", "1 row"),
            (1_200, "row", "1,200 rows"),
            (1, "entry", "1 entry"),
            (2, "entry", "2 entries"),
        ];
        for (n, noun, text) in cases {
            assert_eq!(counted(n, noun), text);
        }
        assert_eq!((verb(1, "is", "are"), verb(0, "is", "are")), ("is", "are"));
        assert_eq!(objects(1, 1), "1 object, 1 B");
    }

    #[test]
    fn sizes_have_units() {
        let cases = [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (1_048_575, "1.0 MiB"),
            (4_404_019, "4.2 MiB"),
            (u64::MAX, "16.0 EiB"),
        ];
        for (n, text) in cases {
            assert_eq!(bytes(n), text);
        }
    }

    #[test]
    fn differences_have_signs() {
        let cases = [
            (1, 1_201, "+1,200"),
            (5, 2, "-3"),
            (7, 7, "no change"),
            (0, u64::MAX, "+18,446,744,073,709,551,615"),
        ];
        for (before, after, text) in cases {
            assert_eq!(difference(before, after, count), text);
        }
    }
}
