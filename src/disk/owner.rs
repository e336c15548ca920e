//! Who owns a file, as a name where there is one.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;

use nix::unistd::{Uid, User, geteuid};

/// `ann`, or `the user 1234` where the password file does not know the number.
pub fn name(uid: u32) -> String {
    let known = User::from_uid(Uid::from_raw(uid)).ok().flatten();
    known.map_or_else(|| format!("the user {uid}"), |user| user.name)
}

/// Whether a file belongs to this process's user, or to root, whom everybody trusts anyway.
pub fn is_trusted(found: &Metadata) -> bool {
    found.uid() == 0 || found.uid() == geteuid().as_raw()
}

/// Whether users other than the owner may write to it.
pub fn is_open_to_others(found: &Metadata) -> bool {
    found.mode() & 0o022 != 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_without_a_name_is_shown_as_one() {
        assert_eq!(name(0), "root");
        assert_eq!(name(3_999_999_999), "the user 3999999999");
    }
}
