//! `s3://BUCKET/PREFIX?endpoint=...&region=...`: where an object store is.

use std::fmt;

use tidelake_core::{Error, Result};

/// A bucket and a prefix in it. Credentials are not part of its URL: they come from the environment.
#[derive(Clone, PartialEq, Eq)]
pub struct ObjectPlace {
    url: String,
    pub(super) bucket: String,
    pub(super) prefix: String,
    pub(super) endpoint: Option<String>,
    pub(super) region: Option<String>,
    pub(super) credentials: Option<(String, String)>,
}

impl ObjectPlace {
    /// Reads `s3://BUCKET/PREFIX`, with `?endpoint=URL` for servers other than Amazon's and `region=NAME`.
    ///
    /// # Errors
    /// [`Error::Invalid`] with what is wrong.
    pub fn parse(url: &str) -> Result<ObjectPlace> {
        let wrong = |what: &str| {
            Error::Invalid(format!(
                "storage {url:?}: {what}; write s3://BUCKET/PREFIX or s3://BUCKET/PREFIX?endpoint=URL"
            ))
        };
        let rest = url.strip_prefix("s3://").ok_or_else(|| wrong("it does not begin with s3://"))?;
        let (path, options) = rest.split_once('?').unwrap_or((rest, ""));
        let (bucket, prefix) = path.split_once('/').unwrap_or((path, ""));
        let prefix = prefix.trim_end_matches('/');
        if bucket.is_empty() {
            return Err(wrong("it has no bucket"));
        }
        if prefix.is_empty() {
            return Err(wrong("it has no prefix, and what is no file of the engine would be in its way"));
        }
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_./".contains(c);
        if !bucket.chars().chain(prefix.chars()).all(plain)
            || prefix.split('/').any(|p| p.is_empty() || p == "." || p == "..")
        {
            return Err(wrong("bucket and prefix may have letters, digits, '-', '_', '.' and, between parts, '/'"));
        }
        let mut place = ObjectPlace {
            url: url.to_owned(),
            bucket: bucket.to_owned(),
            prefix: prefix.to_owned(),
            endpoint: None,
            region: None,
            credentials: None,
        };
        for option in options.split('&').filter(|o| !o.is_empty()) {
            match option.split_once('=') {
                Some(("endpoint", value)) if value.starts_with("http://") || value.starts_with("https://") => {
                    place.endpoint = Some(value.trim_end_matches('/').to_owned());
                }
                Some(("endpoint", _)) => return Err(wrong("the endpoint is no http:// or https:// URL")),
                Some(("region", value)) if !value.is_empty() => place.region = Some(value.to_owned()),
                // Its value may be a secret.
                _ => return Err(wrong("it has an option other than endpoint and region")),
            }
        }
        Ok(place)
    }

    /// The same with an access key and its secret, instead of those of the environment.
    #[must_use]
    pub fn with_credentials(mut self, access_key: &str, secret: &str) -> ObjectPlace {
        self.credentials = Some((access_key.to_owned(), secret.to_owned()));
        self
    }

    /// As it was given.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Bucket and prefix, which say whose files are there.
    #[must_use]
    pub fn name(&self) -> String {
        format!("s3://{}/{}", self.bucket, self.prefix)
    }
}

impl fmt::Debug for ObjectPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_read() {
        let place = ObjectPlace::parse("s3://lake/a/b/?endpoint=http://127.0.0.1:9000/&region=eu-1").unwrap();
        let have = (place.name(), place.endpoint.as_deref(), place.region.as_deref());
        assert_eq!(have, ("s3://lake/a/b".to_owned(), Some("http://127.0.0.1:9000"), Some("eu-1")));
        assert_eq!(ObjectPlace::parse("s3://lake/a").unwrap().endpoint, None);
    }

    #[test]
    fn other_places_are_refused() {
        for url in [
            "/tmp/x",
            "s3://",
            "s3:///a",
            "s3://lake",
            "s3://lake/",
            "s3://lake/a//b",
            "s3://lake/../b",
            "s3://lake/a b",
            "s3://lake/a?endpoint=ftp://x",
            "s3://lake/a?secret=x",
            "s3://lake/a?region=",
        ] {
            assert!(matches!(ObjectPlace::parse(url), Err(Error::Invalid(_))), "{url}");
        }
    }
}
