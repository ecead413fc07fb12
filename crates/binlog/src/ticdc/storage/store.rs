//! Where a storage sink's files lie: a local directory, or a bucket of an object store that speaks S3.
//!
//! Files are named by their path below the sink's root. Everything here blocks; an object store is asked on the runtime that the store was opened
//! on, so never call it from one of that runtime's own threads.

use std::fs::Metadata;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::TryStreamExt;
use object_store::aws::AmazonS3Builder;
use object_store::{GetOptions, GetRange, ObjectMeta, ObjectStore, ObjectStoreExt, RetryConfig};
use tidelake_core::{Error, Result};
use tokio::runtime::Handle;

/// Deepest directory below the root.
const MAX_DEPTH: usize = 8;
/// How long the client tries again by itself where somebody else will.
const TRIES: Duration = Duration::from_secs(5);
/// Bytes of an object that are asked for at once.
const PIECE: u64 = 8 << 20;

/// What tells one content of a file from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Stamp {
    len: u64,
    modified: (i64, i64),
    /// The inode, or a hash of the object's entity tag.
    identity: u64,
}

impl Stamp {
    fn of_file(metadata: &Metadata) -> Stamp {
        let modified = (metadata.mtime(), metadata.mtime_nsec());
        Stamp { len: metadata.len(), modified, identity: metadata.ino() }
    }

    fn of_object(meta: &ObjectMeta) -> Stamp {
        let modified = (meta.last_modified.timestamp(), i64::from(meta.last_modified.timestamp_subsec_nanos()));
        let identity = crate::ticdc::place::ddl_hash(meta.e_tag.as_deref().unwrap_or_default());
        Stamp { len: meta.size, modified, identity }
    }
}

/// What stands behind `ticdc-storage:`, without options of the feed itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StorePlace {
    /// A directory.
    Local(PathBuf),
    /// A bucket and what its objects' names begin with.
    S3 {
        /// The bucket.
        bucket: String,
        /// Without slashes at its ends; may be empty.
        prefix: String,
        /// `None`: that of AWS, or of the environment.
        endpoint: Option<String>,
        /// `None`: that of the environment.
        region: Option<String>,
        /// Without credentials.
        anonymous: bool,
    },
}

impl StorePlace {
    /// Reads `DIR`, `file:///DIR` or `s3://BUCKET[/PREFIX]`.
    ///
    /// # Errors
    /// [`Error::Invalid`] for another scheme.
    pub fn parse(text: &str) -> Result<StorePlace> {
        if let Some(rest) = text.strip_prefix("s3://") {
            let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
            if bucket.is_empty() {
                return Err(Error::Invalid("ticdc-storage:s3://: no bucket is given".into()));
            }
            let prefix = prefix.trim_matches('/').to_owned();
            let (endpoint, region, anonymous) = (None, None, false);
            return Ok(StorePlace::S3 { bucket: bucket.to_owned(), prefix, endpoint, region, anonymous });
        }
        let path = text.strip_prefix("file:").unwrap_or(text);
        if let Some((scheme, _)) = path.split_once("://") {
            return Err(Error::Invalid(format!(
                "ticdc-storage:{scheme}://...: a local directory or s3:// is read; sync other stores to one of them"
            )));
        }
        Ok(StorePlace::Local(PathBuf::from(path.strip_prefix("//").unwrap_or(path))))
    }

    /// Takes an option; false: it is none of this place's.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a wrong value, and for credentials.
    pub fn set(&mut self, name: &str, value: &str) -> Result<bool> {
        let StorePlace::S3 { endpoint, region, anonymous, .. } = self else { return Ok(false) };
        match name {
            "endpoint" if value.starts_with("http://") || value.starts_with("https://") => {
                *endpoint = Some(value.trim_end_matches('/').to_owned());
            }
            "endpoint" => return Err(Error::Invalid("endpoint= begins with http:// or https://".into())),
            "region" => *region = Some(value.to_owned()),
            "anonymous" => *anonymous = value == "true",
            "access-key" | "secret-access-key" | "session-token" => {
                return Err(Error::Invalid(format!(
                    "{name} does not belong into the source: set AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN in the environment"
                )));
            }
            _ => return Ok(false),
        }
        Ok(true)
    }
}

impl std::fmt::Display for StorePlace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            StorePlace::Local(dir) => write!(f, "{}", dir.display()),
            StorePlace::S3 { bucket, prefix, .. } => write!(f, "s3://{bucket}/{prefix}"),
        }
    }
}

/// An opened place.
#[derive(Clone)]
pub enum Store {
    /// A directory.
    Local(PathBuf),
    /// A bucket.
    Remote(Remote),
}

/// Objects of a bucket below a prefix.
#[derive(Clone)]
pub struct Remote {
    objects: Arc<dyn ObjectStore>,
    prefix: String,
    name: String,
    runtime: Handle,
}

/// A file found.
#[derive(Clone, Debug)]
pub struct Found {
    /// Below the root.
    pub path: PathBuf,
    /// Its content now.
    pub stamp: Stamp,
}

impl Store {
    /// Opens it; nothing is asked yet. `patient`: the store may be away for minutes before that is an error; else whoever asks tries again
    /// and says so meanwhile.
    ///
    /// # Errors
    /// [`Error::Invalid`] if a bucket cannot be reached with these settings at all.
    pub fn open(place: &StorePlace, runtime: Handle, patient: bool) -> Result<Store> {
        let (bucket, prefix, endpoint, region, anonymous) = match place {
            StorePlace::Local(dir) => return Ok(Store::Local(dir.clone())),
            StorePlace::S3 { bucket, prefix, endpoint, region, anonymous } => {
                (bucket, prefix, endpoint, region, anonymous)
            }
        };
        let mut builder = AmazonS3Builder::from_env().with_bucket_name(bucket).with_skip_signature(*anonymous);
        if let Some(endpoint) = endpoint {
            builder = builder.with_endpoint(endpoint).with_allow_http(endpoint.starts_with("http://"));
        }
        if let Some(region) = region {
            builder = builder.with_region(region);
        }
        if !patient {
            builder =
                builder.with_retry(RetryConfig { max_retries: 2, retry_timeout: TRIES, ..RetryConfig::default() });
        }
        let objects = builder.build().map_err(|e| Error::Invalid(format!("open {place}: {e}")))?;
        let (prefix, name) = (prefix.clone(), place.to_string());
        Ok(Store::Remote(Remote { objects: Arc::new(objects), prefix, name, runtime }))
    }

    /// True for a directory: looking at it costs next to nothing.
    #[must_use]
    pub fn is_local(&self) -> bool {
        matches!(self, Store::Local(_))
    }

    /// A file for messages.
    #[must_use]
    pub fn name_of(&self, path: &Path) -> String {
        match self {
            Store::Local(dir) => dir.join(path).display().to_string(),
            Store::Remote(remote) => format!("{}/{}", remote.name, path.display()),
        }
    }

    /// A small file; `None`: there is none.
    ///
    /// # Errors
    /// What the file system or the object store says.
    pub fn get(&self, path: &Path) -> Result<Option<Bytes>> {
        match self {
            Store::Local(dir) => match std::fs::read(dir.join(path)) {
                Ok(bytes) => Ok(Some(bytes.into())),
                Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
                Err(e) => Err(Error::io(format!("read {}", self.name_of(path)), e)),
            },
            Store::Remote(remote) => {
                let get = async { remote.objects.get(&remote.key(path)).await?.bytes().await };
                match remote.runtime.block_on(get) {
                    Ok(bytes) => Ok(Some(bytes)),
                    Err(object_store::Error::NotFound { .. }) => Ok(None),
                    Err(e) => Err(unavailable(&format!("read {}", self.name_of(path)), &e)),
                }
            }
        }
    }

    /// All files, in no order.
    ///
    /// # Errors
    /// What the file system or the object store says.
    pub fn list(&self) -> Result<Vec<Found>> {
        let mut found = Vec::new();
        match self {
            Store::Local(dir) => walk(dir, Path::new(""), 0, &mut found)?,
            Store::Remote(remote) => {
                let prefix = object_store::path::Path::from(remote.prefix.as_str());
                let listed: Vec<ObjectMeta> = remote
                    .runtime
                    .block_on(remote.objects.list(Some(&prefix)).try_collect())
                    .map_err(|e| unavailable(&format!("list {}", remote.name), &e))?;
                for meta in &listed {
                    let key = meta.location.as_ref();
                    let below = key.strip_prefix(remote.prefix.as_str()).unwrap_or(key).trim_start_matches('/');
                    found.push(Found { path: PathBuf::from(below), stamp: Stamp::of_object(meta) });
                }
            }
        }
        Ok(found)
    }

    /// Opens a file that was found, to be read from its beginning.
    ///
    /// # Errors
    /// What the file system says.
    pub fn open_file(&self, found: &Path, stamp: &Stamp) -> Result<Box<dyn Read + '_>> {
        match self {
            Store::Local(dir) => {
                let path = dir.join(found);
                let file = std::fs::File::open(&path);
                Ok(Box::new(file.map_err(|e| Error::io(format!("read {}", path.display()), e))?))
            }
            Store::Remote(remote) => {
                let (key, size) = (remote.key(found), stamp.len);
                Ok(Box::new(ObjectReader { remote, key, size, at: 0, tag: None, piece: Bytes::new() }))
            }
        }
    }

    /// Removes a file.
    ///
    /// # Errors
    /// What the file system or the object store says; a file that is gone already is no error.
    pub fn remove(&self, path: &Path) -> Result<()> {
        match self {
            Store::Local(dir) => match std::fs::remove_file(dir.join(path)) {
                Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                    Err(Error::io(format!("remove {}", self.name_of(path)), e))
                }
                _ => Ok(()),
            },
            Store::Remote(remote) => match remote.runtime.block_on(remote.objects.delete(&remote.key(path))) {
                Err(e) if !matches!(e, object_store::Error::NotFound { .. }) => {
                    Err(unavailable(&format!("remove {}", self.name_of(path)), &e))
                }
                _ => Ok(()),
            },
        }
    }
}

impl Remote {
    fn key(&self, path: &Path) -> object_store::path::Path {
        let path = path.display().to_string();
        let key = if self.prefix.is_empty() { path } else { format!("{}/{path}", self.prefix) };
        // as it was listed: names of databases and tables are raw
        object_store::path::Path::parse(&key).unwrap_or_else(|_| object_store::path::Path::from(key))
    }
}

/// The client tried several times already. What is wrong with the settings looks no different from here.
fn unavailable(doing: &str, error: &object_store::Error) -> Error {
    match error {
        object_store::Error::Unauthenticated { .. } | object_store::Error::PermissionDenied { .. } => {
            Error::Invalid(format!("{doing}: {error}"))
        }
        _ => Error::Unavailable(format!("{doing}: {error}")),
    }
}

fn walk(root: &Path, below: &Path, depth: usize, found: &mut Vec<Found>) -> Result<()> {
    let dir = root.join(below);
    let io = |e| Error::io(format!("list directory {}", dir.display()), e);
    for entry in std::fs::read_dir(&dir).map_err(io)? {
        let entry = entry.map_err(io)?;
        let path = below.join(entry.file_name());
        let metadata = match std::fs::metadata(entry.path()) {
            Ok(metadata) => metadata,
            // cleaned up, or a temporary name, while it was listed
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => continue,
            Err(e) => return Err(Error::io(format!("look at {}", entry.path().display()), e)),
        };
        if !metadata.is_dir() {
            found.push(Found { path, stamp: Stamp::of_file(&metadata) });
        } else if depth < MAX_DEPTH {
            walk(root, &path, depth + 1, found)?;
        }
    }
    Ok(())
}

/// An object, read piece by piece; it must not change meanwhile.
struct ObjectReader<'a> {
    remote: &'a Remote,
    key: object_store::path::Path,
    size: u64,
    at: u64,
    tag: Option<String>,
    piece: Bytes,
}

impl ObjectReader<'_> {
    fn fetch(&mut self) -> Result<(), object_store::Error> {
        let range = GetRange::Bounded(self.at..(self.at + PIECE).min(self.size));
        let options = GetOptions { range: Some(range), if_match: self.tag.clone(), ..GetOptions::default() };
        let (tag, piece) = self.remote.runtime.block_on(async {
            let got = self.remote.objects.get_opts(&self.key, options).await?;
            let tag = got.meta.e_tag.clone();
            Ok::<_, object_store::Error>((tag, got.bytes().await?))
        })?;
        self.tag = self.tag.take().or(tag);
        self.at += piece.len() as u64;
        self.piece = piece;
        Ok(())
    }
}

impl Read for ObjectReader<'_> {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        if self.piece.is_empty() && self.at < self.size {
            self.fetch().map_err(std::io::Error::other)?;
        }
        let taken = self.piece.split_to(self.piece.len().min(out.len()));
        out[..taken.len()].copy_from_slice(&taken);
        Ok(taken.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places() {
        assert_eq!(StorePlace::parse("/a/b").unwrap(), StorePlace::Local("/a/b".into()));
        assert_eq!(StorePlace::parse("file:///a/b").unwrap(), StorePlace::Local("/a/b".into()));
        let mut s3 = StorePlace::parse("s3://bucket/some/prefix/").unwrap();
        assert_eq!(s3.to_string(), "s3://bucket/some/prefix");
        assert!(s3.set("endpoint", "http://h:1/").unwrap() && s3.set("region", "x").unwrap());
        assert!(!s3.set("zone", "UTC").unwrap());
        let error = s3.set("secret-access-key", "hush").unwrap_err().to_string();
        assert!(error.contains("AWS_SECRET_ACCESS_KEY") && !error.contains("hush"), "{error}");
        assert!(s3.set("endpoint", "h:1").is_err());
        for wrong in ["gcs://b/x", "s3:///x"] {
            assert!(StorePlace::parse(wrong).is_err(), "{wrong}");
        }
    }
}
