//! Modification times as DataChain (Python) records them for local files.
//!
//! The etag of a local file is `os.stat(path).st_mtime.hex()`: seconds as a 64-bit float, written as a C99
//! hexadecimal. The float keeps about 0.2 microseconds of the kernel's nanoseconds, so two times are compared
//! after conversion to that float.

/// `st_mtime` as CPython computes it (`fill_time` in `posixmodule.c`); tried on 20,000 times.
#[expect(clippy::cast_precision_loss, reason = "Python loses the same")]
pub fn python(seconds: i64, nanoseconds: i64) -> f64 {
    seconds as f64 + 1e-9 * nanoseconds as f64
}

/// Parses the output of `float.hex`: `[-]0x1.<13 digits>p<exponent>`, `0x0.0p+0`, and subnormals. Missing
/// digits are padded; anything else (infinities among it) is `None`.
pub fn parse(text: &str) -> Option<f64> {
    let (sign, text) = text.strip_prefix('-').map_or((1.0, text), |rest| (-1.0, rest));
    let (mantissa, exponent) = text.strip_prefix("0x")?.split_once('p')?;
    let (whole, digits) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    if digits.len() > 13 || !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    let missing = 4 * (13 - digits.len());
    let fraction =
        if digits.is_empty() { 0 } else { u64::from_str_radix(digits, 16).ok()? << missing };
    let exponent: i32 = exponent.parse().ok()?;
    match (whole, exponent) {
        ("0", 0) if fraction == 0 => Some(sign * 0.0),
        ("0", -1022) => Some(sign * f64::from_bits(fraction)),
        ("1", -1022..=1023) => {
            let biased = u64::try_from(exponent + 1023).ok()?;
            Some(sign * f64::from_bits(biased << 52 | fraction))
        }
        _ => None,
    }
}

/// `float.hex` of a normal number or zero, for messages.
pub fn hex(seconds: f64) -> String {
    let bits = seconds.abs().to_bits();
    let sign = if seconds.is_sign_negative() { "-" } else { "" };
    match i64::try_from(bits >> 52).unwrap_or_default() - 1023 {
        -1023 => format!("{sign}0x0.0p+0"),
        exponent => format!("{sign}0x1.{:013x}p{exponent:+}", bits & ((1 << 52) - 1)),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn reads_what_python_wrote_of_the_same_file() {
        // Seconds and nanoseconds given to `os.utime`, and `st_mtime.hex()` after it.
        let cases = [
            (1_536_378_608, 205_740_996, "0x1.6e4d1bc0d2adcp+30"),
            (2_072_911_645, 936_348_996, "0x1.ee387c77bed24p+30"),
            (2_249_841_721, 318_256_268, "0x1.0c33b872a2f28p+31"),
            (2_053_985_902, 331_566_680, "0x1.e9b559b953863p+30"),
            (2_995_502_843, 97_751_225, "0x1.65177df6320c7p+31"),
            (-266_171_001, 597_534_592, "-0x1.fbae4f0ce0ff2p+27"),
            (-383_571_434, 525_322_230, "-0x1.6dcd5e979847bp+28"),
            (-279_860_132, 800_538_692, "-0x1.0ae53a3330fe5p+28"),
            (0, 0, "0x0.0p+0"),
            (1, 500_000_000, "0x1.8000000000000p+0"),
        ];
        for (seconds, nanoseconds, text) in cases {
            let time = python(seconds, nanoseconds);
            assert_eq!(parse(text), Some(time), "{text}");
            assert_eq!(hex(time), text);
        }
    }

    #[test]
    fn anything_else_is_no_time() {
        let odd = [("-0x0.0p+0", 0.0), ("0x0.0000000000001p-1022", 5e-324), ("0x1.8p+3", 12.0)];
        for (text, value) in odd {
            assert_eq!(parse(text), Some(value), "{text}");
        }
        for text in [
            "",
            "0x",
            "0x1",
            "1.5",
            "inf",
            "nan",
            "0x1.0p",
            "0x1.0p+1024",
            "0x1.0p-1023",
            "0x2.0p+1",
            "0x1.00000000000000p+0",
            "0x1.gp+0",
            "0x1.+p+0",
            "0x1.0p+99999999999",
            "d41d8cd98f00b204e9800998ecf8427e",
            "--0x1.0p+0",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "-?(0x)?[01]?\\.?[0-9a-g]{0,15}p?[+-]?[0-9]{0,5}") {
            parse(&text);
        }

        #[test]
        fn every_normal_float_comes_back(bits in (1_u64 << 52)..(2047_u64 << 52)) {
            let value = f64::from_bits(bits);
            prop_assert_eq!(parse(&hex(value)), Some(value));
            prop_assert_eq!(parse(&hex(-value)), Some(-value));
        }
    }
}
