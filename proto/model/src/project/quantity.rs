//! [`Quantity`]: an amount as Kubernetes writes it, for example `250m` or `1.5Gi`.

use std::{cmp::Ordering, fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::Fault;

/// Longest text of a quantity, in bytes: the largest amount that fits, to the last digit, has fewer.
pub const MAX_QUANTITY_BYTES: usize = 32;
/// Largest amount in whole units: what an API server keeps exactly (2^63 - 1).
const MAX_UNITS: u128 = (1 << 63) - 1;
/// The unit that amounts are compared in: the finest suffix is `n`.
const NANOS: u128 = 1_000_000_000;

/// A positive or zero amount: digits, at most one decimal point, and a suffix
/// (`n`, `u`, `m`, `k`, `M`, `G`, `T`, `P`, `E`, their binary kin `Ki` to `Ei`, or
/// an exponent such as `e3`). Its text is kept as it was given; it is compared by value.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Quantity {
    text: String,
    nanos: u128,
}

impl Quantity {
    /// The text, as it was given.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether it is nothing at all.
    pub fn is_zero(&self) -> bool {
        self.nanos == 0
    }

    /// In whole units, rounded up: bytes of memory, for example.
    pub fn units(&self) -> u64 {
        u64::try_from(self.nanos.div_ceil(NANOS)).unwrap_or(u64::MAX)
    }

    /// Whether it is a whole number of units, as bytes are.
    pub fn is_whole(&self) -> bool {
        self.nanos.is_multiple_of(NANOS)
    }

    /// Whether it is a whole number of thousandths, the finest share of a processor.
    pub fn is_in_thousandths(&self) -> bool {
        self.nanos.is_multiple_of(NANOS / 1_000)
    }
}

/// By value: `1000m` is `1`.
impl PartialEq for Quantity {
    fn eq(&self, other: &Self) -> bool {
        self.nanos == other.nanos
    }
}

impl Eq for Quantity {}

impl PartialOrd for Quantity {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Quantity {
    fn cmp(&self, other: &Self) -> Ordering {
        self.nanos.cmp(&other.nanos)
    }
}

/// The text is no quantity.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{shown:?} is no quantity; {problem}")]
pub struct QuantityError {
    shown: String,
    problem: &'static str,
}

impl FromStr for Quantity {
    type Err = QuantityError;
    fn from_str(text: &str) -> Result<Self, QuantityError> {
        let wrong = |problem| QuantityError { shown: text.chars().take(40).collect(), problem };
        const FORM: &str = "write a number and a suffix, for example 250m, 2 or 1.5Gi";
        if text.is_empty() || text.len() > MAX_QUANTITY_BYTES {
            return Err(wrong(FORM));
        }
        let end = text.bytes().position(|byte| !byte.is_ascii_digit() && byte != b'.').unwrap_or(text.len());
        let (number, suffix) = text.split_at(end);
        let (whole, part) = number.split_once('.').unwrap_or((number, ""));
        if (whole.is_empty() && part.is_empty()) || part.contains('.') {
            return Err(wrong(FORM));
        }
        let (times, power) = scale(suffix).ok_or_else(|| wrong(FORM))?;
        const LARGE: &str = "it is larger than 9223372036854775807";
        let digits: u128 = format!("{whole}{part}").parse().map_err(|_| wrong(LARGE))?;
        // digits x 10^(power - places) x times, in nanos.
        let places = i32::try_from(part.len()).map_err(|_| wrong(FORM))?;
        let mut nanos = digits.checked_mul(times).ok_or_else(|| wrong(LARGE))?;
        let shift = power - places + 9;
        for _ in 0..shift.max(0) {
            nanos = nanos.checked_mul(10).ok_or_else(|| wrong(LARGE))?;
        }
        for _ in shift.min(0)..0 {
            if !nanos.is_multiple_of(10) {
                return Err(wrong("it is finer than a billionth"));
            }
            nanos /= 10;
        }
        if nanos > MAX_UNITS * NANOS {
            return Err(wrong(LARGE));
        }
        Ok(Quantity { text: text.to_owned(), nanos })
    }
}

/// What a suffix multiplies by: a factor, and a power of ten.
fn scale(suffix: &str) -> Option<(u128, i32)> {
    const BINARY: [&str; 6] = ["Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];
    if let Some(at) = BINARY.iter().position(|known| *known == suffix) {
        return Some((1 << (10 * (at + 1)), 0));
    }
    let power = match suffix {
        "n" => -9,
        "u" => -6,
        "m" => -3,
        "" => 0,
        "k" => 3,
        "M" => 6,
        "G" => 9,
        "T" => 12,
        "P" => 15,
        "E" => 18,
        exponent => {
            let digits = exponent.strip_prefix(['e', 'E'])?;
            let unsigned = digits.strip_prefix(['+', '-']).unwrap_or(digits);
            // Two digits say everything from below a billionth to above the largest amount.
            if !(1..=2).contains(&unsigned.len()) || !unsigned.bytes().all(|byte| byte.is_ascii_digit()) {
                return None;
            }
            digits.parse().ok()?
        }
    };
    Some((1, power))
}

impl TryFrom<String> for Quantity {
    type Error = QuantityError;
    fn try_from(text: String) -> Result<Self, QuantityError> {
        text.parse()
    }
}

impl From<Quantity> for String {
    fn from(quantity: Quantity) -> String {
        quantity.text
    }
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// What is counted: each has its own finest amount.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Counted {
    /// Processors, in thousandths.
    Cpu,
    /// Bytes.
    Bytes,
}

/// Checks an amount of something. The error names the field.
pub(crate) fn validate(field: &str, amount: &Quantity, counted: Counted) -> Result<(), Fault> {
    if amount.is_zero() {
        return Err(Fault::invalid(field, "is 0").hint("give an amount, or leave it out"));
    }
    match counted {
        Counted::Cpu if !amount.is_in_thousandths() => {
            Err(Fault::invalid(field, format!("{amount} is finer than 1m, the least share of a processor")))
        }
        Counted::Bytes if !amount.is_whole() => {
            Err(Fault::invalid(field, format!("{amount} is no whole number of bytes"))
                .hint("for example 512Mi; a suffix m is thousandths"))
        }
        Counted::Cpu | Counted::Bytes => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn quantities_have_a_value() {
        let nanos = |text: &str| text.parse::<Quantity>().map(|quantity| quantity.nanos);
        for (text, value) in [
            ("0", 0),
            ("1", NANOS),
            ("250m", NANOS / 4),
            ("1n", 1),
            ("1u", 1_000),
            ("1.5Gi", 3 * 512 * 1024 * 1024 * NANOS),
            (".5", NANOS / 2),
            ("5.", 5 * NANOS),
            ("1k", 1_000 * NANOS),
            ("1E", 1_000_000_000_000_000_000 * NANOS),
            ("1e3", 1_000 * NANOS),
            ("1E+3", 1_000 * NANOS),
            ("12e-1", NANOS * 12 / 10),
            ("0001", NANOS),
        ] {
            assert_eq!(nanos(text), Ok(value), "{text}");
        }
        for bad in [
            "",
            " 1",
            "1 ",
            "-1",
            "+1",
            "1K",
            "1ki",
            "Mi",
            ".",
            "1.2.3",
            "1e",
            "1e+",
            "1e333",
            "0x1",
            "1mm",
            "1,5",
            "9223372036854775808",
            "8Ei",
            "1.0000000001",
            "1e-10",
            "١",
        ] {
            assert!(nanos(bad).is_err(), "{bad}");
        }
        assert_eq!("7Ei".parse::<Quantity>().unwrap().units(), 7 << 60);
        assert!("1000m".parse::<Quantity>().unwrap() == "1".parse().unwrap());
        assert!("1Gi".parse::<Quantity>().unwrap() > "1G".parse().unwrap());
    }

    proptest! {
        /// A number of thousandths is worth the same however it is written.
        #[test]
        fn one_value_has_many_spellings(milli in 0_u64..1_000_000_000) {
            let spellings = [
                format!("{milli}m"),
                format!("{}.{:03}", milli / 1_000, milli % 1_000),
                format!("{milli}e-3"),
                format!("{milli}000u"),
            ];
            let values: Vec<Quantity> = spellings.iter().map(|text| text.parse().unwrap()).collect();
            for value in &values {
                prop_assert_eq!(value.nanos, u128::from(milli) * 1_000_000);
            }
        }

        /// No text at all makes the parser fail in another way than by saying so.
        #[test]
        fn any_text_is_read_or_refused(text in "[0-9.eEkKmMnuGiTP+-]{0,34}|.{0,8}") {
            if let Ok(quantity) = text.parse::<Quantity>() {
                prop_assert_eq!(quantity.as_str(), &text);
            }
        }
    }
}
