//! "Did you mean": the names nearest to a mistyped one.

/// The most names suggested.
const MOST: usize = 3;

/// Names longer than this are not compared: the work grows quadratically.
const LONGEST: usize = 100;

/// Up to three of `names` within a small edit distance of `wanted`, nearest first.
pub fn to<'a>(wanted: &str, names: impl Iterator<Item = &'a str>) -> Vec<String> {
    let wanted: Vec<char> = wanted.chars().take(LONGEST + 1).collect();
    let allowed = (wanted.len() / 3).max(1);
    let mut near: Vec<(usize, &str)> = names
        .filter(|name| name.len() <= LONGEST && wanted.len() <= LONGEST)
        .map(|name| (distance(&wanted, &name.chars().collect::<Vec<_>>()), name))
        .filter(|(distance, _)| *distance <= allowed)
        .collect();
    near.sort_unstable();
    near.dedup();
    near.into_iter().take(MOST).map(|(_, name)| name.to_owned()).collect()
}

/// The same for dotted names: those that end with all of `wanted` come first, because people type
/// `width` for `info.width`; if there are none and `wanted` has no dot, those whose last part is
/// near it.
pub fn to_dotted<'a>(wanted: &str, names: impl Iterator<Item = &'a str> + Clone) -> Vec<String> {
    let ends = |name: &&str| {
        let above = name.len().checked_sub(wanted.len()).filter(|above| *above > 0);
        let end = above.and_then(|above| name.get(above..));
        end.is_some_and(|end| end.eq_ignore_ascii_case(wanted))
            && above.is_some_and(|above| name[..above].ends_with('.'))
    };
    let found = first(names.clone().filter(ends));
    if !found.is_empty() {
        return found;
    }
    let whole = to(wanted, names.clone());
    if !whole.is_empty() || wanted.contains('.') {
        return whole;
    }
    let near = to(wanted, names.clone().map(last));
    let of_near = |name: &&str| near.iter().any(|near| near == last(name));
    first(names.filter(of_near))
}

/// The part of a dotted name after its last dot.
fn last(name: &str) -> &str {
    name.rsplit('.').next().unwrap_or(name)
}

/// The first few names, without duplicates.
fn first<'n>(names: impl Iterator<Item = &'n str>) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    for name in names {
        if found.len() < MOST && !found.iter().any(|known| known == name) {
            found.push(name.to_owned());
        }
    }
    found
}

/// The end of the message that a name does not exist: the nearest names, or `otherwise` if there
/// are none.
pub fn hint(near: &[String], otherwise: &str) -> String {
    match near {
        [] => format!("; {otherwise}"),
        near => {
            let names: Vec<String> = near.iter().map(|name| format!("`{name}`")).collect();
            format!("; did you mean {}?", names.join(" or "))
        }
    }
}

/// The edit distance, ignoring case.
fn distance(a: &[char], b: &[char]) -> usize {
    let mut above: Vec<usize> = (0..=b.len()).collect();
    for (row, x) in a.iter().enumerate() {
        let mut before = row + 1;
        let mut corner = row;
        for (y, cell) in b.iter().zip(1..) {
            let change = corner + usize::from(!x.eq_ignore_ascii_case(y));
            let here = change.min(above[cell] + 1).min(before + 1);
            corner = above[cell];
            above[cell - 1] = before;
            before = here;
        }
        above[b.len()] = before;
    }
    above[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_changes() {
        let cases = [
            ("", "", 0),
            ("", "abc", 3),
            ("abc", "", 3),
            ("pets", "pets", 0),
            ("pets", "PETS", 0),
            ("pets", "pest", 2),
            ("kitten", "sitting", 3),
            ("ab", "b", 1),
        ];
        for (a, b, want) in cases {
            let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
            assert_eq!(distance(&a, &b), want, "{a:?} {b:?}");
            assert_eq!(distance(&b, &a), want, "{b:?} {a:?}");
        }
    }

    #[test]
    fn a_part_of_a_dotted_name_is_found() {
        let names = ["file.path", "info.width", "mask.info.width", "label", "info.width"];
        let cases: [(&str, &[&str]); 7] = [
            ("width", &["info.width", "mask.info.width"]),
            ("WIDTH", &["info.width", "mask.info.width"]),
            ("info.width", &["mask.info.width"]),
            ("widthh", &["info.width", "mask.info.width"]),
            ("labl", &["label"]),
            ("x.widht", &[]),
            ("idth", &["info.width", "mask.info.width"]),
        ];
        for (wanted, want) in cases {
            assert_eq!(to_dotted(wanted, names.into_iter()), want, "{wanted}");
        }
    }

    #[test]
    fn suggests_the_nearest_once() {
        let names = ["pets_images", "pets", "pots", "cats", "pets", "team.brain.eeg", "pits"];
        let cases: [(&str, &[&str]); 4] = [
            ("petz", &["pets"]),
            ("pts", &["pets", "pits", "pots"]),
            ("pet_image", &["pets_images"]),
            ("zebra", &[]),
        ];
        for (wanted, want) in cases {
            assert_eq!(to(wanted, names.into_iter()), want, "{wanted}");
        }
        assert!(to(&"x".repeat(5000), names.into_iter()).is_empty());
    }
}
