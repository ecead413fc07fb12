//! The `Authorization` header: `Basic` (RFC 7617) with user and password, or `Bearer` (RFC 6750) with a token.

use base64::Engine;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

/// Drivers of Flight SQL leave the padding out.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// What the header says.
#[derive(PartialEq, Eq)]
pub(crate) enum Credentials {
    /// User and password.
    Basic(String, String),
    /// A token.
    Bearer(String),
}

/// Reads it; `None` for what is neither.
pub(crate) fn parse(header: &str) -> Option<Credentials> {
    let (scheme, rest) = header.trim().split_once(' ')?;
    if scheme.eq_ignore_ascii_case("bearer") {
        return Some(Credentials::Bearer(rest.trim().to_owned()));
    }
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let text = String::from_utf8(BASE64.decode(rest.trim()).ok()?).ok()?;
    let (user, password) = text.split_once(':')?;
    Some(Credentials::Basic(user.to_owned(), password.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_schemes_are_read() {
        let basic = |user: &str, password: &str| Some(Credentials::Basic(user.into(), password.into()));
        assert!(parse("Basic YW5uOnNlY3JldA==") == basic("ann", "secret"));
        assert!(parse("basic YW5uOnNlY3JldA") == basic("ann", "secret"), "without padding");
        assert!(parse("Basic YW5uOmE6Yg==") == basic("ann", "a:b"));
        assert!(parse("Bearer abc") == Some(Credentials::Bearer("abc".into())));
        for wrong in ["", "Basic", "Basic !", "Basic YW5u", "Digest x=y", "Bearer"] {
            assert!(parse(wrong).is_none(), "{wrong}");
        }
    }
}
