//! `[quota]`: how much of fetched objects users may keep, as an administrator says it in the file of the machine.

use toml::de::{DeTable, DeValue};

use super::Wrong;
use crate::error::show;
use dcfs_core::name::nearest;

/// What `[quota]` says. Sizes are as `--cache-size` takes them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Quota {
    /// Of each user.
    cache_size: Option<String>,
    /// Of some: the name, and the size.
    users: Vec<(String, String)>,
}

const NAMES: [&str; 2] = ["cache_size", "users"];

impl Quota {
    /// The size of a user: their own, else that of everybody. Root has one only by name, for it serves others.
    pub fn of(&self, user: &str) -> Option<&str> {
        let own = self.users.iter().find(|(name, _)| name == user).map(|(_, size)| size);
        own.or(self.cache_size.as_ref().filter(|_| user != "root")).map(String::as_str)
    }

    /// Reads the table.
    pub fn read(entries: &DeTable<'_>) -> Result<Self, Wrong> {
        let mut quota = Self::default();
        for (name, value) in entries {
            let wrong = |text: &str| (value.span().start, text.to_owned());
            match (name.get_ref().as_ref(), value.get_ref()) {
                ("cache_size", DeValue::String(text)) => quota.cache_size = Some(text.to_string()),
                ("cache_size", _) => {
                    return Err(wrong("`cache_size` is a text, such as `cache_size = \"100G\"`"));
                }
                ("users", DeValue::Table(users)) => {
                    for (user, size) in users {
                        let DeValue::String(size) = size.get_ref() else {
                            return Err(wrong(
                                "sizes of users are texts, such as `ann = \"500G\"`",
                            ));
                        };
                        quota.users.push((user.get_ref().to_string(), size.to_string()));
                    }
                }
                ("users", _) => return Err(wrong("`users` is a table: write `[quota.users]`")),
                (other, _) => {
                    let near = nearest::to(other, NAMES.into_iter());
                    let hint = nearest::hint(&near, &format!("there are {}", NAMES.join(", ")));
                    let text = format!("no setting of `[quota]` is called `{}`{hint}", show(other));
                    return Err((name.span().start, text));
                }
            }
        }
        Ok(quota)
    }
}

#[cfg(test)]
mod tests {
    use super::super::Settings;
    use super::*;

    fn read(text: &str) -> Result<Option<Quota>, String> {
        let settings = Settings::parse(std::path::Path::new("/c"), text);
        settings.map(|settings| settings.quota().cloned()).map_err(|error| error.to_string())
    }

    #[test]
    fn each_user_has_a_size() {
        assert_eq!(read(""), Ok(None));
        let text = "[quota]\ncache_size = '100G'\n[quota.users]\nann = '500G'\n";
        let quota = read(text).expect("read").expect("there");
        for (user, want) in [("ann", Some("500G")), ("bob", Some("100G")), ("root", None)] {
            assert_eq!(quota.of(user), want, "{user}");
        }
        let some = read("[quota.users]\nann = '1G'\nroot = '2G'").expect("read").expect("there");
        assert_eq!((some.of("bob"), some.of("root")), (None, Some("2G")));
        let cases = [
            ("[quota]\ncache_sise = '1G'", "did you mean `cache_size`"),
            ("[quota]\ncache_size = 1", "is a text"),
            ("[quota]\nusers = 1", "is a table"),
            ("[quota.users]\nann = 1", "sizes of users are texts"),
        ];
        for (text, message) in cases {
            let error = read(text).expect_err(text);
            assert!(error.contains(message) && error.contains("line "), "{error}");
        }
    }
}
