//! Turns: limits of the concurrent work of one user, so that neither a user nor a kind of work delays the
//! others.
//!
//! Each user has turns of three kinds. A filter that looks slow takes one of a few, so that sixty of them leave
//! threads and processors to other filters. Waiting for a turn takes no thread.

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Limit of all concurrent work of one user: less than the 512 threads for it.
const ANY: usize = 128;

/// Limit of concurrent computations of views' rows for one user.
const ROWS: usize = 16;

/// Number of idle users that are remembered.
const IDLE: usize = 64;

/// Operators that may examine every character of every row, again and again.
const LONG: [&str; 3] = ["regexp", "like", "glob"];

tokio::task_local! {
    /// The user whose request this task answers.
    static USER: u32;
}

/// A kind of work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// Any work that may block.
    Any,
    /// Computing the rows of a view.
    Rows,
    /// Computing rows with an expression that may be slow, groups of rows, or the answer to a statement.
    Long,
}

/// The turns of all users.
#[derive(Debug, Default)]
pub struct Turns {
    users: Mutex<HashMap<Option<u32>, Arc<User>>>,
}

#[derive(Debug)]
struct User {
    any: Arc<Semaphore>,
    rows: Arc<Semaphore>,
    long: Arc<Semaphore>,
}

impl Default for User {
    fn default() -> Self {
        let cores = thread::available_parallelism().map_or(2, NonZeroUsize::get);
        let turns = |count| Arc::new(Semaphore::new(count));
        Self { any: turns(ANY), rows: turns(ROWS), long: turns((cores / 4).clamp(2, ROWS)) }
    }
}

/// Runs `work` on behalf of a user, who waits for it.
pub fn as_user<F: Future>(user: u32, work: F) -> impl Future<Output = F::Output> {
    USER.scope(user, work)
}

/// The kind of turn for a filter.
pub fn of_filter(text: &str) -> Turn {
    let text = text.to_ascii_lowercase();
    // `any` evaluates its condition for every item of every row.
    let is_call = |rest: &str| rest.trim_start().starts_with('(');
    let is_long =
        LONG.iter().any(|word| text.contains(word)) || text.split("any").skip(1).any(is_call);
    if is_long { Turn::Long } else { Turn::Rows }
}

impl Turns {
    /// Waits for a turn, which lasts until it is dropped. Work on behalf of nobody has turns of its own.
    pub async fn take(&self, turn: Turn) -> Option<OwnedSemaphorePermit> {
        let user = self.user(USER.try_with(|user| *user).ok());
        let turns = match turn {
            Turn::Any => &user.any,
            Turn::Rows => &user.rows,
            Turn::Long => &user.long,
        };
        // The semaphore is never closed.
        turns.clone().acquire_owned().await.ok()
    }

    fn user(&self, user: Option<u32>) -> Arc<User> {
        let mut users = self.users.lock().unwrap_or_else(PoisonError::into_inner);
        if users.len() >= IDLE && !users.contains_key(&user) {
            users.retain(|_, user| !user.is_idle());
        }
        users.entry(user).or_default().clone()
    }
}

impl User {
    /// Whether nothing is in progress: a turn that is waited for or taken holds its semaphore.
    fn is_idle(self: &Arc<Self>) -> bool {
        let held = [&self.any, &self.rows, &self.long].map(Arc::strong_count);
        Arc::strong_count(self) == 1 && held == [1; 3]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::time::Duration;

    #[test]
    fn filters_that_may_take_long_are_told_by_their_letters() {
        let cases = [
            ("name regexp '(a+)+b'", Turn::Long),
            ("not name LIKE '%a%'", Turn::Long),
            ("width > 400", Turn::Rows),
            ("ANY (boxes, score > 0.5)", Turn::Long),
            ("not any(boxes, score > 0.5)", Turn::Long),
            ("company = 'any' and anything > 1", Turn::Rows),
        ];
        for (text, turn) in cases {
            assert_eq!(of_filter(text), turn, "{text}");
        }
    }

    #[tokio::test]
    async fn long_work_of_one_user_keeps_nothing_else_waiting() {
        let turns = Turns::default();
        let mut taken = Vec::new();
        let soon = Duration::from_millis(20);
        let take = |user, turn| {
            let turns = &turns;
            async move { tokio::time::timeout(soon, as_user(user, turns.take(turn))).await }
        };
        while let Ok(turn) = take(1, Turn::Long).await {
            taken.push(turn);
        }
        assert!((2..=ROWS).contains(&taken.len()), "{}", taken.len());
        assert!(take(1, Turn::Rows).await.is_ok(), "other filters of the same user");
        assert!(take(2, Turn::Long).await.is_ok(), "long ones of another user");
        taken.pop();
        assert!(take(1, Turn::Long).await.is_ok(), "one that ended makes room");
    }

    #[tokio::test]
    async fn users_that_come_and_go_are_forgotten() {
        let turns = Turns::default();
        let kept = as_user(0, turns.take(Turn::Any)).await;
        for user in 1..1000 {
            drop(as_user(user, turns.take(Turn::Any)).await);
        }
        let users = turns.users.lock().expect("no panic");
        assert!(users.len() <= IDLE && users.contains_key(&Some(0)));
        drop(kept);
    }
}
