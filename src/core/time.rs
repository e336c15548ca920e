//! Times as the catalog writes them: UTC, to the microsecond, with no zone.

use std::fmt;
use std::time::{Duration, SystemTime};

use chrono::{DateTime, Datelike, NaiveDate, NaiveDateTime, Timelike};

/// Length of `YYYY-MM-DD HH:MM:SS`, in characters; three or six digits may follow.
const SECONDS: usize = 19;
const MILLIS: usize = 23;
const MICROS: usize = 26;

/// Microseconds since 1970-01-01 00:00:00 UTC; negative before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

impl Timestamp {
    /// Wraps a count of microseconds since the epoch.
    pub const fn from_micros(micros: i64) -> Self {
        Self(micros)
    }

    /// Microseconds since the epoch.
    pub const fn micros(self) -> i64 {
        self.0
    }

    /// Parses the formats that Python's `datetime.fromisoformat` accepts, as DataChain does:
    /// `2024-01-02 03:04:05[.123456]`, with `T` for the space, an offset or `Z` at the end, or a
    /// date alone. No offset means UTC.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        if let Some(time) = Self::parse_fixed(text.as_bytes()) {
            return Some(time);
        }
        let naive = |t: NaiveDateTime| Self(t.and_utc().timestamp_micros());
        NaiveDateTime::parse_from_str(text, "%Y-%m-%d %H:%M:%S%.f")
            .or_else(|_| NaiveDateTime::parse_from_str(text, "%Y-%m-%dT%H:%M:%S%.f"))
            .map(naive)
            .or_else(|_| {
                DateTime::parse_from_rfc3339(text)
                    .or_else(|_| DateTime::parse_from_str(text, "%Y-%m-%d %H:%M:%S%.f%#z"))
                    .map(|t| Self(t.timestamp_micros()))
            })
            .ok()
            .or_else(|| {
                let date = NaiveDate::parse_from_str(text, "%Y-%m-%d").ok()?;
                Some(naive(date.and_hms_opt(0, 0, 0)?))
            })
    }

    /// The time of the kernel; clamped to the range of this type.
    pub fn of_system(time: SystemTime) -> Self {
        let micros = |distance: Duration| i64::try_from(distance.as_micros()).unwrap_or(i64::MAX);
        Self(match time.duration_since(SystemTime::UNIX_EPOCH) {
            Ok(since) => micros(since),
            Err(before) => -micros(before.duration()),
        })
    }

    /// `2024-01-02 03:04:05[.123456]`, as DataChain writes it into the catalog.
    pub fn catalog(self) -> String {
        let mut text = self.fixed();
        if self.0 % 1_000_000 == 0 {
            text.truncate(text.trim_end_matches(".000000").len());
        }
        text
    }

    /// `2024-01-02T03:04:05.123456Z` (RFC 3339), for programs.
    pub fn rfc3339(self) -> String {
        self.to_string().replacen(' ', "T", 1).replace(" UTC", "Z")
    }

    /// `2024-01-02 03:04:05.123456`, of the same length for all times of four-digit years: readers
    /// that guess the type of a column from its texts guess the same for each.
    pub fn fixed(self) -> String {
        self.written().unwrap_or_else(|| self.to_string())
    }

    /// Writes `YYYY-MM-DD HH:MM:SS.ffffff`, in a tenth of the time of a general formatter.
    fn written(self) -> Option<String> {
        let time = DateTime::from_timestamp_micros(self.0)?;
        let Some(year) = u32::try_from(time.year()).ok().filter(|year| *year <= 9999) else {
            return Some(time.format("%Y-%m-%d %H:%M:%S%.6f").to_string());
        };
        let mut text = *b"0000-00-00 00:00:00.000000";
        let parts = [
            (0..4, year),
            (5..7, time.month()),
            (8..10, time.day()),
            (11..13, time.hour()),
            (14..16, time.minute()),
            (17..19, time.second()),
            (20..26, time.timestamp_subsec_micros()),
        ];
        for (place, mut number) in parts {
            for digit in text[place].iter_mut().rev() {
                *digit += (number % 10) as u8;
                number /= 10;
            }
        }
        std::str::from_utf8(&text).ok().map(str::to_owned)
    }

    /// Parses the form that catalogs and stores write, `YYYY-MM-DD HH:MM:SS[.ffffff]`, also with
    /// `T` for the space, three digits for six and a `Z` at the end; `None` for any other. Runs for
    /// every row, and takes a tenth of the time of a general parser.
    fn parse_fixed(text: &[u8]) -> Option<Self> {
        let text = text.strip_suffix(b"Z").unwrap_or(text);
        let micros = match text.len() {
            SECONDS => 0,
            MILLIS if text[SECONDS] == b'.' => digits(&text[SECONDS + 1..])? * 1000,
            MICROS if text[SECONDS] == b'.' => digits(&text[SECONDS + 1..])?,
            _ => return None,
        };
        let marks = [(4, b'-'), (7, b'-'), (13, b':'), (16, b':')];
        if marks.iter().any(|(at, mark)| text[*at] != *mark) || ![b' ', b'T'].contains(&text[10]) {
            return None;
        }
        let [year, month, day] = [digits(&text[..4])?, digits(&text[5..7])?, digits(&text[8..10])?];
        let [hour, minute, second] =
            [digits(&text[11..13])?, digits(&text[14..16])?, digits(&text[17..19])?];
        let in_range = hour < 24 && minute < 60 && second < 60;
        let days = days_since_epoch(year, month, day).filter(|_| in_range)?;
        let seconds = ((days * 24 + hour) * 60 + minute) * 60 + second;
        Some(Self(seconds * 1_000_000 + micros))
    }

    /// Year, month, day and hour, in UTC; `None` beyond the years that there is a calendar for.
    pub fn parts(self) -> Option<[i64; 4]> {
        let time = DateTime::from_timestamp_micros(self.0)?;
        Some([time.year().into(), time.month().into(), time.day().into(), time.hour().into()])
    }

    /// The midnight before, in UTC.
    pub const fn midnight(self) -> Self {
        const DAY: i64 = 24 * 3600 * 1_000_000;
        // Saturates in the first day that there is.
        Self(match self.0.checked_sub(self.0.rem_euclid(DAY)) {
            Some(micros) => micros,
            None => i64::MIN,
        })
    }

    /// The same time for the kernel.
    pub fn to_system(self) -> SystemTime {
        let distance = Duration::from_micros(self.0.unsigned_abs());
        let moment = if self.0 < 0 {
            SystemTime::UNIX_EPOCH.checked_sub(distance)
        } else {
            SystemTime::UNIX_EPOCH.checked_add(distance)
        };
        moment.unwrap_or(SystemTime::UNIX_EPOCH)
    }
}

/// A number that consists of decimal digits only.
fn digits(text: &[u8]) -> Option<i64> {
    text.iter()
        .try_fold(0, |n, byte| byte.is_ascii_digit().then(|| n * 10 + i64::from(byte - b'0')))
}

/// Days from 1970-01-01 to a date of the Gregorian calendar; `None` if there is no such date.
fn days_since_epoch(year: i64, month: i64, day: i64) -> Option<i64> {
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let longest = match month {
        2 => 28 + i64::from(leap),
        4 | 6 | 9 | 11 => 30,
        1..=12 => 31,
        _ => return None,
    };
    if !(1..=longest).contains(&day) {
        return None;
    }
    // Years begin in March here, so that the leap day is a year's last; 719,468 days lie between
    // 0000-03-01 and 1970-01-01.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let leaps = year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    Some(year * 365 + leaps + (153 * month + 2) / 5 + day - 1 - 719_468)
}

/// `2024-01-02 03:04:05 UTC`, with microseconds if there are any.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match DateTime::from_timestamp_micros(self.0) {
            Some(t) => write!(f, "{} UTC", t.format("%Y-%m-%d %H:%M:%S%.f")),
            None => write!(f, "{} us since 1970 UTC", self.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use proptest::prelude::*;

    /// Parses the fixed forms with chrono, for comparison.
    fn slow(text: &str) -> Option<i64> {
        let text = text.strip_suffix('Z').unwrap_or(text);
        let read = |form| NaiveDateTime::parse_from_str(text, form).ok();
        let time = read("%Y-%m-%d %H:%M:%S%.f").or_else(|| read("%Y-%m-%dT%H:%M:%S%.f"))?;
        Some(time.and_utc().timestamp_micros())
    }

    #[test]
    fn the_fast_way_knows_every_day() {
        let mut day = NaiveDate::from_ymd_opt(1599, 1, 1).expect("a day");
        let last = NaiveDate::from_ymd_opt(2001, 1, 1).expect("a day");
        while day < last {
            let text = format!("{day} 23:59:59.999999");
            let fast = Timestamp::parse_fixed(text.as_bytes()).map(Timestamp::micros);
            assert_eq!(fast, slow(&text), "{text}");
            day = day.succ_opt().expect("a day");
        }
    }

    proptest! {
        #[test]
        fn the_fast_way_agrees_with_the_slow(
            text in "[0-2][0-9]{3}-[01][0-9]-[0-3][0-9][ T][0-2][0-9]:[0-6][0-9]:[0-5][0-9](\\.[0-9]{3}|\\.[0-9]{6})?Z?"
        ) {
            let fast = Timestamp::parse_fixed(text.as_bytes()).map(Timestamp::micros);
            prop_assert_eq!(fast, slow(&text), "{}", text);
        }

        #[test]
        fn the_fast_way_writes_as_the_slow(
            time in prop_oneof![-90_000_000_000..300_000_000_000_i64, any::<i64>()],
            micros in prop_oneof![Just(0), 0..1_000_000_i64],
        ) {
            let time = Timestamp(time.wrapping_mul(1_000_000).wrapping_add(micros));
            let slow = |form| match DateTime::from_timestamp_micros(time.0) {
                Some(slow) => slow.format(form).to_string(),
                None => time.to_string(),
            };
            prop_assert_eq!(time.fixed(), slow("%Y-%m-%d %H:%M:%S%.6f"));
            let is_whole = time.0 % 1_000_000 == 0;
            prop_assert_eq!(time.catalog(), slow(if is_whole { "%Y-%m-%d %H:%M:%S" } else { "%Y-%m-%d %H:%M:%S%.6f" }));
        }

        #[test]
        fn the_fast_way_takes_nothing_else(text in "[-0-9 :.TZ\u{e9}]{17,28}") {
            let fast = Timestamp::parse_fixed(text.as_bytes()).map(Timestamp::micros);
            prop_assert!(fast.is_none() || fast == slow(&text), "{}", text);
        }
    }

    #[test]
    fn reads_what_python_writes() {
        let cases = [
            ("2024-01-02 03:04:05.123456", Some(1_704_164_645_123_456)),
            ("2024-01-02 03:04:05", Some(1_704_164_645_000_000)),
            ("2024-01-02T03:04:05Z", Some(1_704_164_645_000_000)),
            ("2026-11-20 10:31:23.287246+00:00", Some(1_795_170_683_287_246)),
            ("2024-01-02T05:04:05+02:00", Some(1_704_164_645_000_000)),
            ("2024-01-02", Some(1_704_153_600_000_000)),
            ("1970-01-01 00:00:00", Some(0)),
            ("1969-12-31 23:59:59.5", Some(-500_000)),
            ("yesterday", None),
            ("", None),
        ];
        for (text, micros) in cases {
            assert_eq!(Timestamp::parse(text).map(Timestamp::micros), micros, "{text}");
        }
    }

    #[test]
    fn prints_for_people() {
        let cases = [
            (1_704_164_645_123_456, "2024-01-02 03:04:05.123456 UTC"),
            (0, "1970-01-01 00:00:00 UTC"),
            (i64::MAX, "9223372036854775807 us since 1970 UTC"),
        ];
        for (micros, text) in cases {
            assert_eq!(Timestamp::from_micros(micros).to_string(), text, "{micros}");
        }
        assert_eq!(Timestamp::from_micros(1_500_000).rfc3339(), "1970-01-01T00:00:01.500Z");
    }

    #[test]
    fn any_moment_reaches_the_kernel_without_a_panic() {
        for micros in [i64::MIN, -1, 0, 1, i64::MAX] {
            Timestamp::from_micros(micros).to_system();
        }
    }
}
