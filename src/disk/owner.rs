//! The owner of a file, by name if there is one.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use nix::unistd::{Gid, Group, Uid, User, geteuid};

/// `ann`, or `the user 1234` if the password file does not list the number.
pub fn name(uid: u32) -> String {
    let known = User::from_uid(Uid::from_raw(uid)).ok().flatten();
    known.map_or_else(|| format!("the user {uid}"), |user| user.name)
}

/// Whether a file belongs to this process's user, or to root, who is always trusted.
pub fn is_trusted(found: &Metadata) -> bool {
    is_trusted_user(found.uid(), geteuid().as_raw())
}

fn is_trusted_user(uid: u32, own: u32) -> bool {
    uid == 0 || uid == own
}

/// Whether the owner of a file cannot be determined. In a user namespace that does not map all
/// users of the machine, files of the others, mostly root's, belong to a nameless user.
pub fn is_unknown(found: &Metadata) -> bool {
    found.uid() == OVERFLOW && is_unmapped(OVERFLOW)
}

/// The owner of a link at `path`, if not trusted: the owner decides where anything written through
/// it goes.
pub fn of_strangers_link(path: &Path) -> Option<String> {
    let found = path.symlink_metadata().ok()?;
    (found.is_symlink() && !is_trusted(&found)).then(|| name(found.uid()))
}

/// The user that owns files of unmapped users.
const OVERFLOW: u32 = 65534;

/// Whether this process's user namespace does not map a user.
fn is_unmapped(uid: u32) -> bool {
    std::fs::read_to_string("/proc/self/uid_map").is_ok_and(|map| !knows(&map, uid))
}

/// Whether `map` includes a user. Its lines are: first user inside, first user outside, count.
fn knows(map: &str, uid: u32) -> bool {
    map.lines().any(|line| {
        let mut numbers = line.split_whitespace().map(|number| number.parse::<u64>().ok());
        let (Some(Some(first)), _, Some(Some(count))) =
            (numbers.next(), numbers.next(), numbers.next())
        else {
            return false;
        };
        (first..first.saturating_add(count)).contains(&u64::from(uid))
    })
}

/// The users other than the owner who could have written to it, by its mode: everybody, or members
/// of a group that is not the owner's alone. If each user has a group of their own (Debian,
/// Fedora), group-writable files are nothing unusual.
pub fn open_to(found: &Metadata) -> Option<String> {
    if found.mode() & 0o002 != 0 {
        return Some("everybody".to_owned());
    }
    if found.mode() & 0o020 == 0 || is_own_group(found.uid(), found.gid()) {
        return None;
    }
    let group = Group::from_gid(Gid::from_raw(found.gid())).ok().flatten();
    Some(group.map_or_else(
        || format!("the group {}", found.gid()),
        |group| format!("the group `{}`", group.name),
    ))
}

/// Whether a group has only one user: root's, or the group of the user's name without other
/// members.
fn is_own_group(uid: u32, gid: u32) -> bool {
    let Ok(Some(group)) = Group::from_gid(Gid::from_raw(gid)) else { return false };
    let Ok(Some(user)) = User::from_uid(Uid::from_raw(uid)) else { return false };
    let is_of_name = gid == 0 || group.name == user.name;
    is_of_name && group.mem.iter().all(|member| *member == user.name || member == "root")
}

/// Whether users other than the owner may write to it.
pub fn is_open_to_others(found: &Metadata) -> bool {
    found.mode() & 0o022 != 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_of_several_is_told() {
        if !geteuid().is_root() {
            return;
        }
        let file = tempfile::NamedTempFile::new().expect("a file");
        let set = |mode, gid| {
            let permissions = std::os::unix::fs::PermissionsExt::from_mode(mode);
            std::fs::set_permissions(file.path(), permissions).expect("a mode");
            std::os::unix::fs::chown(file.path(), None, Some(gid)).expect("a group");
            open_to(&file.path().metadata().expect("there"))
        };
        assert_eq!(set(0o644, 65534), None);
        assert_eq!(set(0o664, 0), None, "root's own");
        assert_eq!(set(0o664, 4_000_000_000).as_deref(), Some("the group 4000000000"));
        assert!(set(0o664, 65534).is_some_and(|who| who.starts_with("the group `")));
        assert_eq!(set(0o666, 0).as_deref(), Some("everybody"));
    }

    #[test]
    fn root_and_oneself_are_trusted_alone() {
        for (uid, want) in [(0, true), (1000, true), (1001, false), (OVERFLOW, false)] {
            assert_eq!(is_trusted_user(uid, 1000), want, "{uid}");
        }
    }

    #[test]
    fn a_namespace_knows_the_users_that_it_maps() {
        let usual = "         0          0 4294967295\n";
        for (map, uid, want) in [
            (usual, 65534, true),
            ("0 1000 1\n", 0, true),
            ("0 1000 1\n", 65534, false),
            ("0 1000 1\n1 100000 65536\n", 65534, true),
            ("", 0, false),
        ] {
            assert_eq!(knows(map, uid), want, "{map:?} {uid}");
        }
    }

    #[test]
    fn a_link_of_somebody_else_is_told() {
        let base = tempfile::tempdir().expect("a folder");
        let link = base.path().join("link");
        std::os::unix::fs::symlink(base.path(), &link).expect("a link");
        assert_eq!(of_strangers_link(&link), None, "our own");
        assert_eq!(of_strangers_link(base.path()), None, "no link");
        if geteuid().is_root() {
            std::os::unix::fs::lchown(&link, Some(3_999_999_999), None).expect("given away");
            assert_eq!(of_strangers_link(&link).as_deref(), Some("the user 3999999999"));
        }
    }

    #[test]
    fn a_number_without_a_name_is_shown_as_one() {
        assert_eq!(name(0), "root");
        assert_eq!(name(3_999_999_999), "the user 3999999999");
    }
}
