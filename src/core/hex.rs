//! Bytes as lower-case hexadecimal text.

/// `[0xde, 0xad]` as `dead`.
pub fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |four: u8| char::from(DIGITS[usize::from(four)]);
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

/// The inverse of [`hex`], in either case; `None` if the text is anything but two digits for each of `N` bytes.
pub fn bytes<const N: usize>(text: &str) -> Option<[u8; N]> {
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    if pairs.len() != N || !rest.is_empty() {
        return None;
    }
    let digit = |digit: u8| u8::try_from(char::from(digit).to_digit(16)?).ok();
    let mut bytes = [0; N];
    for (byte, [high, low]) in bytes.iter_mut().zip(pairs) {
        *byte = digit(*high)? << 4 | digit(*low)?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_is_two_digits() {
        assert_eq!(hex(&[0x00, 0x0f, 0xde, 0xad, 0xff]), "000fdeadff");
        assert_eq!(hex(&[]), "");
    }

    #[test]
    fn only_as_many_digits_are_bytes() {
        assert_eq!(bytes("000fDEadff"), Some([0x00, 0x0f, 0xde, 0xad, 0xff]));
        assert_eq!(bytes(""), Some([]));
        for bad in ["", "0", "00f", "000fd", "000", "0g0f", "+f0f", "\u{e9}0f", " 0f0"] {
            assert_eq!(bytes::<2>(bad), None, "{bad}");
        }
    }
}
