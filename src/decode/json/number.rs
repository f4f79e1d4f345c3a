//! JSON numbers: read once into digits and a power of ten, from which integers and floats follow without a second look.

/// A number as a record writes it.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Number {
    /// Whether it begins with `-`.
    pub(crate) negative: bool,
    /// Its digits without the point, as many of the first as fit.
    pub(crate) mantissa: u64,
    /// The power of ten that the mantissa is multiplied with; cut where it is beyond any type's range.
    pub(crate) exponent: i32,
    /// Whether `mantissa` and `exponent` are all of it: no digit but 0 was dropped.
    pub(crate) exact: bool,
    /// Whether it is written without a fraction and without an exponent.
    pub(crate) integer: bool,
}

/// Where exponents are cut: beyond any type's range, however many digits stand before.
const EXPONENT_MAX: i32 = 1 << 30;

/// Digits that always fit into a `u64`.
const DIGITS_SAFE: usize = 19;

/// Why a number is no integer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NotInteger {
    /// It has a fraction.
    Fraction,
    /// It is beyond 64 bits.
    Range,
}

impl Number {
    /// Reads the number that begins at a byte of `text` and takes it over; answers where it ends. `Err` is the byte at
    /// which the grammar is left.
    #[inline(always)]
    pub(crate) fn read(&mut self, text: &str, at: usize) -> Result<usize, usize> {
        let bytes = text.as_bytes();
        self.negative = bytes.get(at) == Some(&b'-');
        let first = at + usize::from(self.negative);
        let mut mantissa = 0;
        let mut end = digits(bytes, first, &mut mantissa);
        if end == first {
            return Err(first);
        }
        if bytes[first] == b'0' && end > first + 1 {
            return Err(first + 1);
        }
        let mut count = end - first;
        self.integer = true;
        self.exponent = 0;
        if bytes.get(end) == Some(&b'.') {
            let fraction = end + 1;
            end = digits(bytes, fraction, &mut mantissa);
            if end == fraction {
                return Err(end);
            }
            count += end - fraction;
            self.exponent = -i32::try_from(end - fraction).unwrap_or(EXPONENT_MAX);
            self.integer = false;
        }
        if let Some(b'e' | b'E') = bytes.get(end) {
            let (power, power_end) = power(bytes, end + 1)?;
            self.exponent = self.exponent.saturating_add(power);
            self.integer = false;
            end = power_end;
        }
        self.mantissa = mantissa;
        self.exact = true;
        if count > DIGITS_SAFE {
            self.recount(&text[at..end]);
        }
        Ok(end)
    }

    /// The number that all of a text is, if it is one.
    pub(crate) fn parse(text: &str) -> Option<Number> {
        let mut number = Number::default();
        (number.read(text, 0) == Ok(text.len())).then_some(number)
    }

    /// Reads mantissa and exponent again where there may be more digits than fit.
    #[cold]
    fn recount(&mut self, text: &str) {
        let mut fraction = false;
        let mut full = false;
        let mut shift: i32 = 0;
        self.mantissa = 0;
        let significand = text.find(['e', 'E']).unwrap_or(text.len());
        for byte in text[..significand].bytes() {
            match byte {
                b'.' => fraction = true,
                b'0'..=b'9' => {
                    let digit = u64::from(byte - b'0');
                    let next = self.mantissa.checked_mul(10).and_then(|tens| tens.checked_add(digit));
                    match next.filter(|_| !full) {
                        Some(next) => {
                            self.mantissa = next;
                            shift -= i32::from(fraction);
                        }
                        None => {
                            full = true;
                            self.exact &= digit == 0;
                            shift += i32::from(!fraction);
                        }
                    }
                }
                _ => {}
            }
        }
        let written = text.get(significand + 1..).map_or(0, |text| power(text.as_bytes(), 0).map_or(0, |read| read.0));
        self.exponent = shift.saturating_add(written);
    }

    /// The integer that this is, written as one or not.
    pub(crate) fn to_integer(self) -> Result<i128, NotInteger> {
        let mut magnitude = i128::from(self.mantissa);
        if self.exponent < 0 {
            for _ in 0..self.exponent.unsigned_abs() {
                if magnitude == 0 {
                    break;
                }
                if magnitude % 10 != 0 {
                    return Err(NotInteger::Fraction);
                }
                magnitude /= 10;
            }
        } else if self.exponent > 0 && magnitude != 0 {
            let power = 10i128.checked_pow(self.exponent.unsigned_abs());
            magnitude = power.and_then(|power| magnitude.checked_mul(power)).ok_or(NotInteger::Range)?;
        }
        match self.exact {
            // Digits are only dropped from more than 64 bits: those above the point are beyond the range.
            false if self.exponent > 0 => Err(NotInteger::Range),
            false => Err(NotInteger::Fraction),
            true => Ok(if self.negative { -magnitude } else { magnitude }),
        }
    }

    /// This times 10^`shift`, cut to the integer at or below it; none beyond 100 bits.
    pub(crate) fn scaled_floor(self, shift: i32) -> Option<i128> {
        let exponent = self.exponent.saturating_add(shift);
        let mantissa = i128::from(self.mantissa);
        let (whole, rest) = if mantissa == 0 {
            (0, 0)
        } else if exponent >= 0 {
            let power = 10i128.checked_pow(exponent.unsigned_abs())?;
            (mantissa.checked_mul(power)?, 0)
        } else {
            match 10i128.checked_pow(exponent.unsigned_abs()) {
                Some(power) => (mantissa / power, mantissa % power),
                None => (0, mantissa),
            }
        };
        let below = i128::from(rest != 0 || !self.exact);
        Some(if self.negative { -whole - below } else { whole })
    }

    /// The nearest `f64`; none where that is infinite. `text` says how the number is written, where that is needed.
    #[inline]
    pub(crate) fn to_f64<'t>(self, text: impl FnOnce() -> &'t str) -> Option<f64> {
        // Both the mantissa and the power are exact floats, so that one rounding gives the nearest (Clinger, 1990).
        if self.exact && self.mantissa <= 1 << 53 && self.exponent.unsigned_abs() < 23 {
            let power = POWERS[self.exponent.unsigned_abs() as usize];
            let mantissa = self.mantissa as f64;
            let magnitude = if self.exponent < 0 { mantissa / power } else { mantissa * power };
            return Some(if self.negative { -magnitude } else { magnitude });
        }
        parse_f64(text())
    }

    /// The same for `f32`; not by way of `f64`, which would round twice.
    pub(crate) fn to_f32<'t>(self, text: impl FnOnce() -> &'t str) -> Option<f32> {
        text().parse().ok().filter(|value: &f32| value.is_finite())
    }
}

#[cold]
fn parse_f64(text: &str) -> Option<f64> {
    text.parse().ok().filter(|value: &f64| value.is_finite())
}

/// Powers of ten that are exact as `f64`.
const POWERS: [f64; 23] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20,
    1e21, 1e22,
];

/// Adds digits to the mantissa (which may wrap: too many are read again) and says where they end.
#[inline]
fn digits(bytes: &[u8], mut at: usize, mantissa: &mut u64) -> usize {
    while let Some(&byte) = bytes.get(at) {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            break;
        }
        *mantissa = mantissa.wrapping_mul(10).wrapping_add(u64::from(digit));
        at += 1;
    }
    at
}

/// The power after an `e`, and where it ends.
#[cold]
fn power(bytes: &[u8], mut at: usize) -> Result<(i32, usize), usize> {
    let negative = bytes.get(at) == Some(&b'-');
    at += usize::from(matches!(bytes.get(at), Some(b'+' | b'-')));
    let first = at;
    let mut power: i32 = 0;
    while let Some(byte @ b'0'..=b'9') = bytes.get(at) {
        power = power.saturating_mul(10).saturating_add(i32::from(byte - b'0')).min(EXPONENT_MAX);
        at += 1;
    }
    if at == first { Err(at) } else { Ok((if negative { -power } else { power }, at)) }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_grammar_is_rfc_8259() {
        for good in ["0", "-0", "10", "0.5", "-1.25e+3", "1E-2", "0e0"] {
            assert!(Number::parse(good).is_some(), "{good}");
        }
        for bad in ["", "-", "01", "+1", ".5", "1.", "1e", "1e+", "0x1", "NaN", "1 ", "--1", "1.e5"] {
            assert!(Number::parse(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn integers_are_exact() {
        let read = |text| Number::parse(text).unwrap().to_integer();
        assert_eq!(read("18446744073709551615"), Ok(u64::MAX.into()));
        assert_eq!(read("-9223372036854775808"), Ok(i64::MIN.into()));
        assert_eq!(read("17.000"), Ok(17));
        assert_eq!(read("1700e-2"), Ok(17));
        assert_eq!(read("1.7e1"), Ok(17));
        assert_eq!(read("0e99999999999999999999"), Ok(0));
        assert_eq!(read("1.0000000000000000000000000"), Ok(1));
        assert_eq!(read("1.0000000000000000000000001"), Err(NotInteger::Fraction));
        assert_eq!(read("1.9"), Err(NotInteger::Fraction));
        assert_eq!(read("1e-99999999999"), Err(NotInteger::Fraction));
        assert_eq!(read("1e40"), Err(NotInteger::Range));
        assert_eq!(read("184467440737095516160000000000000000000001"), Err(NotInteger::Range));
    }

    #[test]
    fn fractions_are_cut_downwards() {
        let read = |text| Number::parse(text).unwrap().scaled_floor(6);
        assert_eq!(read("1.5"), Some(1_500_000));
        assert_eq!(read("1.0000009"), Some(1_000_000));
        assert_eq!(read("-0.0000001"), Some(-1));
        assert_eq!(read("-1e-400"), Some(-1));
        assert_eq!(read("-1.00000000000000000000000"), Some(-1_000_000));
        assert_eq!(read("1e400"), None);
    }

    proptest! {
        #[test]
        fn floats_are_the_nearest(text in "-?(0|[1-9][0-9]{0,24})(\\.[0-9]{1,24})?([eE][+-]?[0-9]{1,3})?") {
            let number = Number::parse(&text).unwrap();
            let nearest: f64 = text.parse().unwrap();
            prop_assert_eq!(number.to_f64(|| &text).map(f64::to_bits), nearest.is_finite().then_some(nearest.to_bits()));
        }

        #[test]
        fn every_integer_is_itself(value: i64, unsigned: u64) {
            prop_assert_eq!(Number::parse(&value.to_string()).unwrap().to_integer(), Ok(value.into()));
            prop_assert_eq!(Number::parse(&unsigned.to_string()).unwrap().to_integer(), Ok(unsigned.into()));
        }
    }
}
