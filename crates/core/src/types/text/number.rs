//! Integers, decimals and floats as the servers print them.
//!
//! The rule for floats without declared scale: take the digits (six for FLOAT, the fewest that read back
//! for DOUBLE), print plainly if the point falls within 15 places of the digits' start, else with an exponent without
//! plus sign or padding (`1e20`, `1.5e-16`). Observed on MariaDB 10.11; TiDB differs, see [`FloatStyle::TiDb`].

use std::fmt::Write;

use arrow::datatypes::i256;

use super::{ServerFlavor, TextContext};

/// How a float prints.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FloatStyle {
    /// MariaDB: -0 prints as 0.
    MariaDb,
    /// MySQL: as MariaDB, with `-0`.
    MySql,
    /// TiDB: fewest digits for FLOAT too, exponent from 1e15 and below 1e-15, six digits in a FLOAT's exponent form.
    TiDb,
    /// FLOAT(p,s), DOUBLE(p,s): always `s` digits after the point.
    Fixed(usize),
}

impl FloatStyle {
    pub(super) fn of(scale: Option<u8>, context: &TextContext) -> FloatStyle {
        match (scale, context.flavor) {
            (Some(scale), _) => FloatStyle::Fixed(usize::from(scale)),
            (None, ServerFlavor::MariaDb) => FloatStyle::MariaDb,
            (None, ServerFlavor::MySql) => FloatStyle::MySql,
            (None, ServerFlavor::TiDb) => FloatStyle::TiDb,
        }
    }
}

pub(super) fn push_int(value: i64, out: &mut Vec<u8>) {
    if value < 0 {
        out.push(b'-');
    }
    push_padded_uint(value.unsigned_abs(), 0, out);
}

/// The number, with zeros in front up to `width` characters.
pub(super) fn push_padded_uint(mut value: u64, width: usize, out: &mut Vec<u8>) {
    let mut digits = [b'0'; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (value % 10) as u8;
        value /= 10;
        if value == 0 {
            break;
        }
    }
    out.resize(out.len() + width.saturating_sub(digits.len() - at), b'0');
    out.extend_from_slice(&digits[at..]);
}

/// The decimal with exactly `scale` digits after the point and at least `integer_digits` (at least 1) before it.
pub(super) fn push_decimal(value: i128, scale: i8, integer_digits: usize, out: &mut Vec<u8>) {
    let mut digits = Digits::default();
    match u64::try_from(value.unsigned_abs()) {
        Ok(small) => push_padded_uint(small, 0, &mut digits.0),
        Err(_) => digits.print(format_args!("{}", value.unsigned_abs())),
    }
    push_scaled(value < 0, &digits.0, scale, integer_digits, out);
}

pub(super) fn push_decimal256(value: i256, scale: i8, integer_digits: usize, out: &mut Vec<u8>) {
    if let Some(small) = value.to_i128() {
        return push_decimal(small, scale, integer_digits, out);
    }
    let text = value.to_string();
    let digits = text.strip_prefix('-').unwrap_or(&text);
    push_scaled(digits.len() < text.len(), digits.as_bytes(), scale, integer_digits, out);
}

fn push_scaled(negative: bool, digits: &[u8], scale: i8, integer_digits: usize, out: &mut Vec<u8>) {
    if negative {
        out.push(b'-');
    }
    let after = usize::try_from(scale).unwrap_or(0);
    let (whole, part) = digits.split_at(digits.len().saturating_sub(after));
    let trailing_zeros = if scale < 0 && digits != b"0" { usize::from(scale.unsigned_abs()) } else { 0 };
    let whole_len = whole.len() + trailing_zeros;
    out.resize(out.len() + integer_digits.max(1).saturating_sub(whole_len), b'0');
    out.extend_from_slice(whole);
    out.resize(out.len() + trailing_zeros, b'0');
    if after > 0 {
        out.push(b'.');
        out.resize(out.len() + after - part.len(), b'0');
        out.extend_from_slice(part);
    }
}

/// A FLOAT, with zeros in front up to `width` characters.
pub(super) fn push_float(value: f32, style: FloatStyle, width: usize, out: &mut Vec<u8>) {
    let exact = f64::from(value);
    if style == FloatStyle::TiDb {
        let number = Decoded::shortest(format_args!("{:e}", value.abs()));
        let exponent = value != 0.0 && !(1e-15..1e15).contains(&value.abs());
        let number = if exponent { Decoded::shortest(format_args!("{:.5e}", exact.abs())) } else { number };
        return pad(width, out, |out| number.push(value.is_sign_negative(), exponent, out));
    }
    if let FloatStyle::Fixed(_) = style {
        return push_double(exact, style, width, out);
    }
    let number = Decoded::shortest(format_args!("{:.5e}", exact.abs()));
    pad(width, out, |out| number.push(shows_sign(exact, style), number.wants_exponent(), out));
}

/// A DOUBLE, with zeros in front up to `width` characters.
pub(super) fn push_double(value: f64, style: FloatStyle, width: usize, out: &mut Vec<u8>) {
    if !value.is_finite() {
        // The servers store no infinity and no NaN; an expression of the SQL engine may still make one.
        let text: &[u8] = if value.is_nan() { b"nan" } else { b"inf" };
        return pad(0, out, |out| {
            if value < 0.0 {
                out.push(b'-');
            }
            out.extend_from_slice(text);
        });
    }
    let number = Decoded::shortest(format_args!("{:e}", value.abs()));
    let negative = shows_sign(value, style);
    pad(width, out, |out| match style {
        FloatStyle::Fixed(scale) => number.push_fixed(value.abs(), negative, scale, out),
        FloatStyle::TiDb => {
            let exponent = value != 0.0 && !(1e-15..1e15).contains(&value.abs());
            number.push(negative, exponent, out);
        }
        FloatStyle::MariaDb | FloatStyle::MySql => number.push(negative, number.wants_exponent(), out),
    });
}

fn shows_sign(value: f64, style: FloatStyle) -> bool {
    match style {
        FloatStyle::MariaDb | FloatStyle::Fixed(_) => value < 0.0,
        FloatStyle::MySql | FloatStyle::TiDb => value.is_sign_negative(),
    }
}

/// Runs `print`, then puts zeros in front of what it printed.
fn pad(width: usize, out: &mut Vec<u8>, print: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    print(out);
    let missing = width.saturating_sub(out.len() - start);
    if missing > 0 {
        out.splice(start..start, std::iter::repeat_n(b'0', missing));
    }
}

/// The significant digits of a number, without point or trailing zeros, and where the point belongs: the value is
/// `0.DIGITS * 10^point`.
struct Decoded {
    digits: Digits,
    point: i32,
}

#[derive(Default)]
struct Digits(Vec<u8>);

impl Digits {
    fn print(&mut self, text: std::fmt::Arguments<'_>) {
        self.write_fmt(text).expect("writing to memory does not fail");
    }
}

impl Write for Digits {
    fn write_str(&mut self, s: &str) -> std::fmt::Result {
        self.0.extend_from_slice(s.as_bytes());
        Ok(())
    }
}

impl Decoded {
    /// Takes apart what `{:e}` printed of a number that is not negative: `D[.DDD]e[-]N`.
    fn shortest(text: std::fmt::Arguments<'_>) -> Decoded {
        let mut digits = Digits(Vec::with_capacity(32));
        digits.print(text);
        let e = digits.0.iter().position(|b| *b == b'e').unwrap_or(digits.0.len());
        let exponent = digits.0.get(e + 1..).and_then(|t| std::str::from_utf8(t).ok()).and_then(|t| t.parse().ok());
        digits.0.truncate(e);
        digits.0.retain(u8::is_ascii_digit);
        while digits.0.len() > 1 && digits.0.last() == Some(&b'0') {
            digits.0.pop();
        }
        Decoded { digits, point: exponent.unwrap_or(0) + 1 }
    }

    fn wants_exponent(&self) -> bool {
        let digits = self.digits.0.len() as i32;
        self.digits.0 != b"0" && (self.point < -14 || (self.point > 15 && digits <= self.point))
    }

    fn push(&self, negative: bool, exponent: bool, out: &mut Vec<u8>) {
        if negative {
            out.push(b'-');
        }
        if !exponent {
            return self.push_plain(out);
        }
        out.push(self.digits.0[0]);
        if self.digits.0.len() > 1 {
            out.push(b'.');
            out.extend_from_slice(&self.digits.0[1..]);
        }
        out.push(b'e');
        push_int(i64::from(self.point - 1), out);
    }

    fn push_plain(&self, out: &mut Vec<u8>) {
        let digits = &self.digits.0;
        let Ok(point @ 1..) = usize::try_from(self.point) else {
            out.extend_from_slice(b"0.");
            out.resize(out.len() + self.point.unsigned_abs() as usize, b'0');
            out.extend_from_slice(digits);
            return;
        };
        if digits.len() <= point {
            out.extend_from_slice(digits);
            out.resize(out.len() + point - digits.len(), b'0');
            return;
        }
        out.extend_from_slice(&digits[..point]);
        out.push(b'.');
        out.extend_from_slice(&digits[point..]);
    }

    /// With exactly `scale` digits after the point: the shortest digits and zeros if they suffice, else rounded.
    fn push_fixed(&self, value: f64, negative: bool, scale: usize, out: &mut Vec<u8>) {
        if negative {
            out.push(b'-');
        }
        let after = (self.digits.0.len() as i32 - self.point).max(0) as usize;
        if after > scale && self.digits.0 != b"0" {
            let mut rounded = Digits(std::mem::take(out));
            rounded.print(format_args!("{value:.scale$}"));
            *out = rounded.0;
            return;
        }
        self.push_plain(out);
        let printed_after = if self.digits.0 == b"0" { 0 } else { after };
        if scale > 0 && printed_after == 0 {
            out.push(b'.');
        }
        out.resize(out.len() + scale - printed_after, b'0');
    }
}
