//! Times as the catalog writes them: UTC, to the microsecond, with no zone.

use std::fmt;
use std::time::{Duration, SystemTime};

use chrono::{DateTime, NaiveDate, NaiveDateTime};

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

    /// Reads what Python's `datetime.fromisoformat` takes, as DataChain does: `2024-01-02
    /// 03:04:05[.123456]`, with `T` for the space, an offset or `Z` at the end, or a date alone.
    /// No offset means UTC.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
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

    /// `2024-01-02T03:04:05.123456Z` (RFC 3339), for programs.
    pub fn rfc3339(self) -> String {
        self.to_string().replacen(' ', "T", 1).replace(" UTC", "Z")
    }

    /// The same moment for the kernel.
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

/// `2024-01-02 03:04:05 UTC`, with the microseconds where there are any.
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
