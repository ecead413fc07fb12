//! Numbers as text, without rounding through floating point.

/// The digits of a number rounded half up to `scale` digits behind the point, without the point: `1.255`, 2 -> `126`.
/// `None` if the text is no number or has more than 200 digits.
pub(super) fn unscaled(text: &str, scale: u8) -> Option<String> {
    let text = text.trim();
    let (negative, text) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i32>().ok()?),
        None => (text, 0),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    if whole.len() + fraction.len() == 0 || whole.len() + fraction.len() > 200 || exponent.abs() > 200 {
        return None;
    }
    let mut digits: Vec<u8> = whole.bytes().chain(fraction.bytes()).collect();
    if !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    // Digits that stay, counted from the first one.
    let keep = whole.len() as i32 + exponent + i32::from(scale);
    if keep < 0 {
        return Some("0".into());
    }
    let keep = keep as usize;
    let round_up = digits.get(keep).is_some_and(|d| *d >= b'5');
    digits.resize(keep, b'0');
    if round_up {
        increment(&mut digits);
    }
    let digits = String::from_utf8(digits).ok()?;
    let digits = digits.trim_start_matches('0');
    Some(match (digits, negative) {
        ("", _) => "0".into(),
        (digits, true) => format!("-{digits}"),
        (digits, false) => digits.into(),
    })
}

fn increment(digits: &mut Vec<u8>) {
    for digit in digits.iter_mut().rev() {
        if *digit < b'9' {
            *digit += 1;
            return;
        }
        *digit = b'0';
    }
    digits.insert(0, b'1');
}

/// Puts the point back: `126`, 2 -> `1.26`.
pub(super) fn with_point(digits: &str, scale: u8) -> String {
    let (sign, digits) = digits.strip_prefix('-').map_or(("", digits), |d| ("-", d));
    let scale = usize::from(scale);
    let digits = format!("{digits:0>width$}", width = scale + 1);
    let (whole, fraction) = digits.split_at(digits.len() - scale);
    if scale == 0 { format!("{sign}{whole}") } else { format!("{sign}{whole}.{fraction}") }
}

/// Big-endian bytes as a number.
pub(super) fn bytes_value(bytes: &[u8]) -> Option<u64> {
    let significant = bytes.iter().position(|b| *b != 0).map_or(&[][..], |i| &bytes[i..]);
    if significant.len() > 8 {
        return None;
    }
    Some(significant.iter().fold(0, |value, byte| value << 8 | u64::from(*byte)))
}

/// Binary digits as a number.
pub(super) fn bits_value(digits: &str) -> Option<u64> {
    if digits.is_empty() { Some(0) } else { u64::from_str_radix(digits, 2).ok() }
}
