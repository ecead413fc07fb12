//! NEWDECIMAL: base 10^9 digits in big-endian bytes; the sign is the first bit, and negative numbers are inverted.
//!
//! Format: MySQL's `strings/decimal.cc`, `decimal2bin`.

use arrow::datatypes::i256;

use crate::mysql::reader::{Malformed, Parsed, Reader};

/// Bytes that hold 0 to 9 digits.
const BYTES: [usize; 10] = [0, 1, 1, 2, 2, 3, 3, 4, 4, 4];
const POW10: [u32; 10] = [1, 10, 100, 1_000, 10_000, 100_000, 1_000_000, 10_000_000, 100_000_000, 1_000_000_000];

/// Bytes of a DECIMAL(precision, scale).
#[must_use]
pub fn size(precision: u8, scale: u8) -> usize {
    let (whole, scale) = (usize::from(precision.saturating_sub(scale)), usize::from(scale));
    whole / 9 * 4 + BYTES[whole % 9] + scale / 9 * 4 + BYTES[scale % 9]
}

/// The groups of digits that a DECIMAL is written in.
#[derive(Clone, Copy, Debug)]
pub struct Form {
    /// Digits of each group, most significant first; at most 16 of them.
    groups: [u8; 16],
    count: usize,
    bytes: usize,
}

impl Form {
    /// Of a DECIMAL(precision, scale): precision at most 65, scale at most the precision.
    #[must_use]
    pub fn new(precision: u8, scale: u8) -> Form {
        let (whole, fraction) = (precision.min(65).saturating_sub(scale), scale.min(65));
        let mut form = Form { groups: [0; 16], count: 0, bytes: 0 };
        form.add(whole % 9);
        (0..whole / 9 + fraction / 9).for_each(|_| form.add(9));
        form.add(fraction % 9);
        form
    }

    fn add(&mut self, digits: u8) {
        if digits > 0 && self.count < self.groups.len() {
            self.groups[self.count] = digits;
            self.count += 1;
            self.bytes += BYTES[usize::from(digits)];
        }
    }
}

/// Calls `group(digits, value)` for each group of up to 9 digits, most significant first. Returns the sign.
#[inline]
fn groups(r: &mut Reader<'_>, form: Form, mut group: impl FnMut(usize, u32)) -> Parsed<bool> {
    let bytes = r.bytes(form.bytes)?;
    let negative = bytes.first().is_some_and(|b| b & 0x80 == 0);
    let flip = if negative { u32::MAX } else { 0 };
    let mut rest = Reader::new(bytes);
    let mut sign = 0x80u32;
    for digits in &form.groups[..form.count] {
        let digits = usize::from(*digits);
        let shift = 8 * BYTES[digits] as u32;
        let stored = rest.be(BYTES[digits])? as u32;
        // the sign bit is the first byte's, of the first group
        let value = stored ^ (flip >> (32 - shift)) ^ (std::mem::take(&mut sign) << (shift - 8));
        if value >= POW10[digits] {
            return Err(Malformed::new(format!("{value} where a DECIMAL has {digits} digits")));
        }
        group(digits, value);
    }
    Ok(negative)
}

/// The unscaled value; precision at most 38.
///
/// # Errors
/// For bytes that are no digits, and at the end of the event.
#[inline]
pub fn narrow(r: &mut Reader<'_>, form: Form) -> Parsed<i128> {
    let mut value = 0i128;
    let negative = groups(r, form, |digits, group| {
        value = value.wrapping_mul(i128::from(POW10[digits])).wrapping_add(i128::from(group));
    })?;
    Ok(if negative { value.wrapping_neg() } else { value })
}

/// The unscaled value; precision at most 65.
///
/// # Errors
/// As for [`narrow`].
pub fn wide(r: &mut Reader<'_>, form: Form) -> Parsed<i256> {
    let mut value = i256::ZERO;
    let negative = groups(r, form, |digits, group| {
        let factor = i256::from_i128(i128::from(POW10[digits]));
        value = value.wrapping_mul(factor).wrapping_add(i256::from_i128(i128::from(group)));
    })?;
    Ok(if negative { value.wrapping_neg() } else { value })
}

/// The text of a decimal inside binary JSON: `precision`, `scale`, then the value.
///
/// # Errors
/// As for [`narrow`].
pub fn json_text(bytes: &[u8]) -> Parsed<String> {
    let mut r = Reader::new(bytes);
    let (precision, scale) = (r.u8()?, r.u8()?);
    if !(1..=65).contains(&precision) || scale > precision {
        return Err(Malformed::new(format!("DECIMAL({precision},{scale}) in JSON")));
    }
    let value = wide(&mut r, Form::new(precision, scale))?;
    let negative = value.is_negative();
    let mut digits = value.to_string().trim_start_matches('-').to_owned();
    let scale = usize::from(scale);
    if digits.len() <= scale {
        digits = format!("{}{digits}", "0".repeat(scale + 1 - digits.len()));
    }
    if scale > 0 {
        digits.insert(digits.len() - scale, '.');
    }
    Ok(if negative { format!("-{digits}") } else { digits })
}
