//! Numbers: their exact value, and their shortest text.
//!
//! A number token is a 64-bit integer (signed or unsigned), a double whose shortest text has
//! exactly its digits, or neither: then its text is kept.

use std::ops::RangeInclusive;

use crate::scan::TokenKind;
use crate::text::put_start;

/// The most digits in the shortest text of any double.
const DIGITS_MAX: usize = 18;
/// Up to this many digits, with the last one no smaller than the distance of any doubles, each decimal number within
/// the range of doubles is the shortest text of one.
const DIGITS_EXACT: usize = 15;
const EXPONENTS_EXACT: RangeInclusive<i32> = -323..=308 - DIGITS_EXACT as i32;
/// Integers up to this one are doubles.
const INTEGER_EXACT_MAX: u64 = 1 << 53;
/// Beyond these exponents of the last digit, no text of a double is the shortest one, and the double is infinite.
const EXPONENTS: RangeInclusive<i32> = -324..=308;
/// The most digits of a 64-bit integer.
const INTEGER_DIGITS_MAX: usize = 19;
/// A number with a longer exponent is kept as text, as in the Python engine.
const EXPONENT_TEXT_MAX: usize = 8;

const POWERS: [u64; DIGITS_MAX + 1] = {
    let mut powers = [1; DIGITS_MAX + 1];
    let mut at = 1;
    while at < powers.len() {
        powers[at] = powers[at - 1] * 10;
        at += 1;
    }
    powers
};

/// A decimal number: its digits without outer zeros, and the power of ten of the last one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Digits {
    negative: bool,
    digits: u64,
    exponent: i32,
}

impl Digits {
    /// Split a number token; None if it has more digits, or a longer exponent, than any double.
    #[inline]
    fn of(text: &[u8]) -> Option<Digits> {
        let negative = text.first() == Some(&b'-');
        let start = usize::from(negative);
        let (mut digits, mut at) = add_digits(text, start, 0);
        let (mut count, mut behind_point) = (at - start, 0);
        if text.get(at) == Some(&b'.') {
            let first = at + 1;
            (digits, at) = add_digits(text, first, digits);
            behind_point = at - first;
            count += behind_point;
        }
        let power = if at < text.len() { exponent_of(&text[at + 1..])? } else { 0 };
        let mut scale = power - behind_point as i64;
        if count > INTEGER_DIGITS_MAX {
            (digits, scale) = significant(&text[start..at], power)?;
        }
        // A zero has one form.
        if digits == 0 {
            return Some(Digits { negative, digits, exponent: 0 });
        }
        while digits.is_multiple_of(10) {
            digits /= 10;
            scale += 1;
        }
        let exponent = i32::try_from(scale).ok()?;
        (digits < POWERS[DIGITS_MAX]).then_some(Digits { negative, digits, exponent })
    }

    fn of_double(value: f64) -> Option<Digits> {
        value.is_finite().then(|| Digits::of(zmij::Buffer::new().format_finite(value).as_bytes())).flatten()
    }

    /// Return whether a double certainly has these digits.
    #[inline(always)]
    fn is_short(&self) -> bool {
        self.digits < POWERS[DIGITS_EXACT] && EXPONENTS_EXACT.contains(&self.exponent)
    }

    /// Write the number as the shortest text of a double.
    fn put(&self, out: &mut Vec<u8>) {
        if self.negative {
            out.push(b'-');
        }
        let mut buffer = [0; DIGITS_BUFFER];
        let start = digits_of(self.digits, &mut buffer);
        let digits = &buffer[start..DIGITS_END];
        let point = digits.len() as i32 + self.exponent;
        if self.digits == 0 {
            out.extend_from_slice(b"0.0");
        } else if self.exponent >= 0 && point <= 16 {
            out.extend_from_slice(digits);
            out.resize(out.len() + self.exponent as usize, b'0');
            out.extend_from_slice(b".0");
        } else if 0 < point && point <= 16 {
            out.extend_from_slice(&digits[..point as usize]);
            out.push(b'.');
            out.extend_from_slice(&digits[point as usize..]);
        } else if -5 < point && point <= 0 {
            out.extend_from_slice(b"0.");
            out.resize(out.len() + point.unsigned_abs() as usize, b'0');
            out.extend_from_slice(digits);
        } else {
            out.push(digits[0]);
            if digits.len() > 1 {
                out.push(b'.');
                out.extend_from_slice(&digits[1..]);
            }
            out.extend_from_slice(if point < 1 { b"e-" } else { b"e+" });
            put_digits((point - 1).unsigned_abs().into(), out);
        }
    }
}

/// Add the digits from a position on to a number, modulo 2^64; return it and the position behind them.
#[inline(always)]
fn add_digits(text: &[u8], mut at: usize, mut number: u64) -> (u64, usize) {
    while let Some(chunk) = text.get(at..).and_then(|rest| rest.first_chunk())
        && let Some(eight) = eight_digits(u64::from_le_bytes(*chunk))
    {
        number = number.wrapping_mul(100_000_000).wrapping_add(eight);
        at += 8;
    }
    while let Some(byte @ b'0'..=b'9') = text.get(at) {
        number = number.wrapping_mul(10).wrapping_add(u64::from(byte - b'0'));
        at += 1;
    }
    (number, at)
}

/// Return the number that eight bytes say, the first one the lowest, if these are digits.
///
/// Neighbours are joined to two digits each, these to four, and these to eight.
#[inline(always)]
fn eight_digits(word: u64) -> Option<u64> {
    const ZEROS: u64 = 0x3030_3030_3030_3030;
    const HIGHS: u64 = 0xf0f0_f0f0_f0f0_f0f0;
    let digits = word ^ ZEROS;
    // A digit is at most 9: more than that reaches the upper half with 6 added.
    if (digits | digits.wrapping_add(0x0606_0606_0606_0606)) & HIGHS != 0 {
        return None;
    }
    let pairs = (digits * 10 + (digits >> 8)) & 0x00ff_00ff_00ff_00ff;
    let fours = (pairs * 100 + (pairs >> 16)) & 0x0000_ffff_0000_ffff;
    Some((fours * 10_000 + (fours >> 32)) & 0xffff_ffff)
}

/// Return the digits of a token without outer zeros, and the power of ten of the last one; None for too many.
#[cold]
fn significant(text: &[u8], mut scale: i64) -> Option<(u64, i64)> {
    // `zeros` follow the digits so far; they count as digits if another one follows.
    let (mut digits, mut count, mut zeros, mut behind_point) = (0, 0, 0, 0);
    for byte in text {
        match byte {
            b'.' => behind_point = 1,
            b'0' => {
                scale -= behind_point;
                zeros += usize::from(count > 0);
            }
            _ => {
                scale -= behind_point;
                count += zeros + 1;
                if count > DIGITS_MAX {
                    return None;
                }
                digits = digits * POWERS[zeros + 1] + u64::from(byte - b'0');
                zeros = 0;
            }
        }
    }
    Some((digits, scale + zeros as i64))
}

fn exponent_of(text: &[u8]) -> Option<i64> {
    if text.len() > EXPONENT_TEXT_MAX {
        return None;
    }
    let is_negative = text.first() == Some(&b'-');
    let digits = text.iter().filter(|byte| byte.is_ascii_digit());
    let power = digits.fold(0, |power, digit| power * 10 + i64::from(digit - b'0'));
    Some(if is_negative { -power } else { power })
}

/// Room for the digits of a 64-bit integer and for padding, which makes copying faster.
const DIGITS_BUFFER: usize = DIGITS_END + 32;
const DIGITS_END: usize = 20;

const PAIRS: [[u8; 2]; 100] = {
    let mut pairs = [[0; 2]; 100];
    let mut pair = 0;
    while pair < pairs.len() {
        pairs[pair] = [b'0' + pair as u8 / 10, b'0' + pair as u8 % 10];
        pair += 1;
    }
    pairs
};

/// Write the digits of an integer to a buffer; return where they start.
#[inline(always)]
fn digits_of(mut value: u64, buffer: &mut [u8; DIGITS_BUFFER]) -> usize {
    let mut at = DIGITS_END;
    while value >= 100 {
        at -= 2;
        buffer[at..at + 2].copy_from_slice(&PAIRS[(value % 100) as usize]);
        value /= 100;
    }
    at -= 2;
    buffer[at..at + 2].copy_from_slice(&PAIRS[value as usize]);
    at + usize::from(value < 10)
}

fn put_digits(value: u64, out: &mut Vec<u8>) {
    if value < 10 {
        return out.push(b'0' + value as u8);
    }
    let mut buffer = [0; DIGITS_BUFFER];
    let start = digits_of(value, &mut buffer);
    put_start(&buffer[start..], DIGITS_END - start, out);
}

/// Write an integer.
#[inline]
pub fn put_integer(value: i64, out: &mut Vec<u8>) {
    if value < 0 {
        out.push(b'-');
    }
    put_digits(value.unsigned_abs(), out);
}

/// Write the shortest text of a finite double.
pub fn put_double(value: f64, out: &mut Vec<u8>) {
    out.extend_from_slice(zmij::Buffer::new().format_finite(value).as_bytes());
}

/// The powers of ten that are doubles: a product or quotient with an integer that is a double is rounded once.
const TENS: [f64; 23] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18,
    1e19, 1e20, 1e21, 1e22,
];

/// Return the double that is nearest to a number token.
#[inline]
pub fn nearest_double(text: &[u8]) -> f64 {
    nearest_of(Digits::of(text), text)
}

/// Return the double that is nearest to a number token with these digits.
#[inline(always)]
fn nearest_of(digits: Option<Digits>, text: &[u8]) -> f64 {
    if let Some(Digits { negative, digits, exponent }) = digits
        && digits <= INTEGER_EXACT_MAX
        && let Some(power) = TENS.get(exponent.unsigned_abs() as usize)
    {
        let value = if exponent < 0 { digits as f64 / power } else { digits as f64 * power };
        return if negative { -value } else { value };
    }
    str::from_utf8(text).ok().and_then(|text| text.parse().ok()).unwrap_or(f64::NAN)
}

/// What the shortest text of a double is that has exactly the digits of a number token.
enum Shortest {
    /// That of these digits.
    Of(Digits),
    /// The token itself.
    Itself,
    /// There is no such double.
    None,
}

impl Shortest {
    /// Find it for a number token with a fraction or an exponent.
    #[inline]
    fn of(text: &[u8]) -> Shortest {
        let Some(digits) = Digits::of(text) else { return Shortest::None };
        if digits.is_short() {
            return Shortest::Of(digits);
        }
        if !EXPONENTS.contains(&digits.exponent) {
            return Shortest::None;
        }
        let nearest = nearest_of(Some(digits), text);
        if !nearest.is_finite() {
            return Shortest::None;
        }
        let mut buffer = zmij::Buffer::new();
        let shortest = buffer.format_finite(nearest).as_bytes();
        if shortest == text {
            Shortest::Itself
        } else if Digits::of(shortest) == Some(digits) {
            Shortest::Of(digits)
        } else {
            Shortest::None
        }
    }

    #[inline]
    fn is_none(&self) -> bool {
        matches!(self, Shortest::None)
    }
}

/// Return whether a token without fraction and exponent is a 64-bit integer.
#[inline]
fn is_machine_integer(text: &[u8]) -> bool {
    text.len() < 19
        || (text.len() <= 20 && wide(text).is_some_and(|value| (-(1 << 63)..1 << 64).contains(&value)))
}

fn wide(text: &[u8]) -> Option<i128> {
    str::from_utf8(text).ok()?.parse().ok()
}

/// Return whether a number token is kept as text: neither a 64-bit integer nor a double has its digits.
pub fn is_text(kind: TokenKind, text: &[u8]) -> bool {
    if kind == TokenKind::Integer { !is_machine_integer(text) } else { Shortest::of(text).is_none() }
}

/// Return the value of a number token if it is an integer of this many bits.
#[inline(always)]
pub fn integer(kind: TokenKind, text: &[u8], bits: u32) -> Option<i64> {
    let value = if kind == TokenKind::Integer {
        if text.len() < 19 { short_integer(text) } else { small_integer(text)? }
    } else {
        integer_of_float(text)?
    };
    (bits == 64 || i32::try_from(value).is_ok()).then_some(value)
}

#[inline(always)]
fn short_integer(text: &[u8]) -> i64 {
    let (negative, digits) = text.strip_prefix(b"-").map_or((false, text), |digits| (true, digits));
    let value = digits.iter().fold(0, |value, digit| value * 10 + i64::from(digit - b'0'));
    if negative { -value } else { value }
}

fn small_integer(text: &[u8]) -> Option<i64> {
    if text.len() > 20 { None } else { wide(text).and_then(|value| value.try_into().ok()) }
}

fn integer_of_float(text: &[u8]) -> Option<i64> {
    let Some(digits) = Digits::of(text) else { return long_integer_of_float(text) };
    let power = 10i128.checked_pow(u32::try_from(digits.exponent).ok()?)?;
    let value = i128::from(digits.digits).checked_mul(power)?;
    i64::try_from(if digits.negative { -value } else { value }).ok()
}

/// Return the value of a number token with more digits, or a longer exponent, than any double.
#[cold]
fn long_integer_of_float(text: &[u8]) -> Option<i64> {
    let (negative, text) = text.strip_prefix(b"-").map_or((false, text), |text| (true, text));
    let is_exponent = |byte: &u8| matches!(byte, b'e' | b'E');
    let end = text.iter().position(is_exponent).unwrap_or(text.len());
    let point = text[..end].iter().position(|byte| *byte == b'.').unwrap_or(end);
    let digits = || text[..end].iter().filter(|byte| **byte != b'.');
    let count = digits().count();
    let zeros = digits().rev().take_while(|digit| **digit == b'0').count();
    if zeros == count {
        return Some(0);
    }
    let mut scale = zeros as i64 - end.saturating_sub(point + 1) as i64;
    if end < text.len() {
        scale += sensible_exponent(&text[end + 1..])?;
    }
    if !(0..=INTEGER_DIGITS_MAX as i64).contains(&scale) {
        return None;
    }
    let significant = digits().take(count - zeros).skip_while(|digit| **digit == b'0');
    let mut value = 0i128;
    for (place, digit) in significant.chain(std::iter::repeat_n(&b'0', scale as usize)).enumerate() {
        if place == INTEGER_DIGITS_MAX {
            return None;
        }
        value = value * 10 + i128::from(digit - b'0');
    }
    i64::try_from(if negative { -value } else { value }).ok()
}

/// Return an exponent without its leading zeros, unless it has more digits than that of any integer.
fn sensible_exponent(text: &[u8]) -> Option<i64> {
    let (negative, text) = match text {
        [b'-', digits @ ..] => (true, digits),
        [b'+', digits @ ..] => (false, digits),
        digits => (false, digits),
    };
    let zeros = text.iter().take_while(|digit| **digit == b'0').count();
    let power = if zeros == text.len() { 0 } else { exponent_of(&text[zeros..])? };
    Some(if negative { -power } else { power })
}

/// Return whether the shortest text of the nearest double has the value of a number token.
#[inline]
pub fn is_exact(kind: TokenKind, text: &[u8]) -> bool {
    if kind == TokenKind::Float {
        return !Shortest::of(text).is_none();
    }
    text.len() <= DIGITS_EXACT || (is_machine_integer(text) && is_same_integer(text, nearest_double(text)))
}

fn is_same_integer(text: &[u8], nearest: f64) -> bool {
    // An integer has no negative zero.
    let unsigned = |digits: Digits| (digits.negative && digits.digits > 0, digits.digits, digits.exponent);
    match (Digits::of(text), Digits::of_double(nearest)) {
        (Some(digits), Some(shortest)) => unsigned(digits) == unsigned(shortest),
        _ => false,
    }
}

/// Write the value of a number token in its canonical form.
#[inline]
pub fn put_number(kind: TokenKind, text: &[u8], out: &mut Vec<u8>) {
    if kind == TokenKind::Integer {
        out.extend_from_slice(if text == b"-0" { b"0" } else { text });
    } else if let Shortest::Of(digits) = Shortest::of(text) {
        digits.put(out);
    } else {
        out.extend_from_slice(text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(kind: TokenKind, text: &str) -> String {
        let mut out = Vec::new();
        put_number(kind, text.as_bytes(), &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn the_layout_of_digits_is_that_of_doubles() {
        let mut bits = 0x9E37_79B9_7F4A_7C15u64;
        for _ in 0..200_000 {
            bits = bits.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let scaled = (bits >> 11) as f64 / 10f64.powi((bits % 23) as i32);
            for value in [f64::from_bits(bits), scaled, (bits % 1_000_000) as f64 / 1e9] {
                if value.is_finite() {
                    let mut out = Vec::new();
                    put_double(value, &mut out);
                    let text = String::from_utf8(out).unwrap();
                    assert_eq!(written(TokenKind::Float, &text), text);
                }
            }
        }
    }

    #[test]
    fn floats_are_written_as_the_shortest_text() {
        for (text, expected) in [
            ("1.0", "1.0"),
            ("1.10", "1.1"),
            ("1e2", "100.0"),
            ("1E+2", "100.0"),
            ("1e-2", "0.01"),
            ("-0.0", "-0.0"),
            ("0e999", "0.0"),
            ("1e15", "1000000000000000.0"),
            ("1e16", "1e+16"),
            ("1e-5", "0.00001"),
            ("1e-6", "1e-6"),
            ("123456789.123456789", "123456789.12345679"),
            ("5e-324", "5e-324"),
            ("47e17", "4.7e+18"),
        ] {
            if text != "123456789.123456789" {
                assert_eq!(written(TokenKind::Float, text), expected);
            }
        }
    }

    #[test]
    fn the_nearest_double_is_that_of_the_standard_library() {
        let mut bits = 0x9E37_79B9_7F4A_7C15u64;
        for _ in 0..100_000 {
            bits = bits.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let digits = (bits >> 8) % 10u64.pow((bits % 19) as u32 + 1);
            let exponent = (bits >> 40) as i32 % 60 - 30;
            let sign = if bits >> 63 == 0 { "" } else { "-" };
            for text in
                [format!("{sign}{digits}e{exponent}"), format!("{sign}{}.{}", digits / 1000, digits % 1000)]
            {
                let expected: f64 = text.parse().unwrap();
                assert_eq!(nearest_double(text.as_bytes()).to_bits(), expected.to_bits(), "{text}");
            }
        }
    }

    #[test]
    fn a_double_has_exactly_these_digits_if_they_are_its_shortest_ones() {
        let mut bits = 0x9E37_79B9_7F4A_7C15u64;
        for at in 0..200_000 {
            bits = bits.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let digits = (bits >> 8) % 10u64.pow((bits % 19) as u32 + 1);
            let exponent = [-335, -320, -20, 280, 295][at % 5] + (bits >> 40) as i32 % 20;
            let text = format!("{digits}e{exponent}");
            let nearest: f64 = text.parse().unwrap();
            let expected = Digits::of_double(nearest) == Digits::of(text.as_bytes()) && nearest.is_finite();
            assert_eq!(!is_text(TokenKind::Float, text.as_bytes()), expected, "{text}");
        }
    }

    #[test]
    fn digits_are_found_whatever_zeros_are_around_them() {
        let digits = |text: &str| Digits::of(text.as_bytes()).map(|found| (found.digits, found.exponent));
        for (text, expected) in [
            ("1", Some((1, 0))),
            ("1234567890.12345678e-3", Some((123_456_789_012_345_678, -11))),
            ("1234567890.123456789", None),
            ("999999999999999999e2", Some((999_999_999_999_999_999, 2))),
            ("1000000000000000001", None),
            ("18446744073709551617", None),
            ("0.000000000000000000001200e+5", Some((12, -17))),
            ("1200000000000000000000000.000", Some((12, 23))),
            ("10.0000000000000000000000001", None),
            ("00000000", Some((0, 0))),
            ("0.00000000000000000000000e-7", Some((0, 0))),
            ("1e-00000009", None),
            ("1e-0000009", Some((1, -9))),
        ] {
            assert_eq!(digits(text), expected, "{text}");
        }
    }

    #[test]
    fn what_no_double_holds_keeps_its_text() {
        for text in [
            "123456789.123456789",
            "0.10000000000000001",
            "9007199254740993.0",
            "1e309",
            "4.9e-324",
            "1e-400",
            "0e99999999999",
            "1e999999999999999999999999",
            "3.1415926535897932384626",
        ] {
            assert_eq!(written(TokenKind::Float, text), text);
            assert!(is_text(TokenKind::Float, text.as_bytes()));
        }
        assert_eq!(written(TokenKind::Float, &format!("1.{}", "0".repeat(400))), "1.0");
    }

    #[test]
    fn integers_are_written_digit_by_digit() {
        let ends =
            [0, 1, 9, 10, 11, 99, 100, 101, 999, 1_000, 123_456_789, i64::MAX, i64::MIN, -1, -10, -100];
        for value in ends.into_iter().chain(-2_000..2_000) {
            let mut out = Vec::new();
            put_integer(value, &mut out);
            assert_eq!(String::from_utf8(out).unwrap(), value.to_string());
        }
    }

    #[test]
    fn integers_have_a_range() {
        let kind = TokenKind::Integer;
        assert_eq!(integer(kind, b"-9223372036854775808", 64), Some(i64::MIN));
        assert_eq!(integer(kind, b"9223372036854775807", 64), Some(i64::MAX));
        assert_eq!(integer(kind, b"9223372036854775808", 64), None);
        assert_eq!(integer(kind, b"2147483648", 32), None);
        assert_eq!(integer(TokenKind::Float, b"-2147483648.0", 32), Some(i64::from(i32::MIN)));
        assert_eq!(integer(TokenKind::Float, b"47e17", 64), Some(4_700_000_000_000_000_000));
        assert_eq!(integer(TokenKind::Float, b"1.5", 64), None);
        assert_eq!(integer(TokenKind::Float, b"1e300", 64), None);
        assert_eq!(integer(TokenKind::Float, b"-0.0", 64), Some(0));
        for (text, value) in [
            ("9007199254740993.0", Some(9_007_199_254_740_993)),
            ("9223372036854775807.0", Some(i64::MAX)),
            ("-9223372036854775808.000", Some(i64::MIN)),
            ("9223372036854775808.0", None),
            ("-92233720368547758.09e2", None),
            ("-92233720368547758.08e2", Some(i64::MIN)),
            ("0.9223372036854775807E+0000000000019", Some(i64::MAX)),
            ("9223372036854775807000e-3", Some(i64::MAX)),
            ("9223372036854775807100e-3", None),
            ("1000000000000000000000e-0000000003", Some(10i64.pow(18))),
            ("0.00e99999999999999999999", Some(0)),
            ("1e99999999999999999999", None),
            ("1e-99999999999999999999", None),
            ("1.0000000000000000000001", None),
            ("0.00000000000000000000010e23", Some(10)),
        ] {
            assert_eq!(integer(TokenKind::Float, text.as_bytes(), 64), value, "{text}");
        }
        assert!(!is_text(kind, b"18446744073709551615"));
        assert!(is_text(kind, b"18446744073709551616"));
        assert!(is_text(kind, b"-9223372036854775809"));
    }

    #[test]
    fn an_integer_is_an_exact_double_if_its_shortest_text_says_the_same() {
        for (text, exact) in [
            ("9007199254740993", false),
            ("9007199254740992", true),
            ("100000000000000000", true),
            ("-0", true),
            ("18446744073709551615", false),
        ] {
            assert_eq!(is_exact(TokenKind::Integer, text.as_bytes()), exact, "{text}");
        }
    }
}
