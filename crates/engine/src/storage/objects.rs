//! An object store, for threads that wait for it.

use std::fs::File;
use std::future::Future;
use std::io::{Read, Write};
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use object_store::aws::AmazonS3Builder;
use object_store::path::Path as Key;
use object_store::{Error as StoreError, ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload};
use tidelake_core::{Error, Result};
use tokio::runtime::Runtime;

use super::place::ObjectPlace;

/// Larger files are put in parts.
const PART: usize = 8 << 20;

/// A prefix of an object store. Requests run on threads of its own, so that any thread may wait for them.
pub(crate) struct Objects {
    store: Arc<dyn ObjectStore>,
    prefix: String,
    name: String,
    runtime: Option<Runtime>,
}

/// What became of an object that must be new.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Put {
    Done,
    /// There is one of that name.
    Exists,
}

/// What a fetched file is like.
pub(super) struct Got {
    pub(super) bytes: u64,
    pub(super) crc: u32,
}

impl Objects {
    pub(super) fn open(place: &ObjectPlace) -> Result<Objects> {
        let mut builder = AmazonS3Builder::from_env().with_bucket_name(&place.bucket);
        if let Some(endpoint) = &place.endpoint {
            builder = builder.with_endpoint(endpoint).with_allow_http(endpoint.starts_with("http://"));
        }
        if let Some(region) = &place.region {
            builder = builder.with_region(region);
        }
        if let Some((key, secret)) = &place.credentials {
            builder = builder.with_access_key_id(key).with_secret_access_key(secret);
        }
        let name = place.name();
        let store = builder.build().map_err(|e| Error::Invalid(format!("storage {name}: {e}")))?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("engine-storage")
            .enable_all()
            .build()
            .map_err(|e| Error::io("start the threads of the object store", e))?;
        Ok(Objects { store: Arc::new(store), prefix: place.prefix.clone(), name, runtime: Some(runtime) })
    }

    /// Bucket and prefix.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    fn key(&self, name: &str) -> Key {
        Key::from(format!("{}/{name}", self.prefix))
    }

    /// Runs requests and waits for them.
    fn wait<T: Send + 'static>(&self, work: impl Future<Output = Result<T>> + Send + 'static) -> Result<T> {
        let (done, result) = std::sync::mpsc::sync_channel(1);
        let runtime = self.runtime.as_ref().expect("there until it is dropped");
        runtime.spawn(async move {
            // Nobody waits any more only if the waiting thread is gone.
            let _ = done.send(work.await);
        });
        result.recv().map_err(|_| Error::Internal("a request of the object store ended without an answer".into()))?
    }

    fn failed(&self, what: &str, name: &str) -> impl Fn(StoreError) -> Error + Send + use<> {
        let place = format!("{what} {}/{name}", self.name);
        move |e| Error::io(place.clone(), std::io::Error::other(e.to_string()))
    }

    /// The bytes of a small object.
    pub(crate) fn get(&self, name: &str) -> Result<Option<Bytes>> {
        let (store, key, failed) = (self.store.clone(), self.key(name), self.failed("get", name));
        self.wait(async move {
            match store.get(&key).await {
                Ok(found) => Ok(Some(found.bytes().await.map_err(failed)?)),
                Err(StoreError::NotFound { .. }) => Ok(None),
                Err(e) => Err(failed(e)),
            }
        })
    }

    /// Writes an object into a new file, without waiting for the disk; `None` if there is no such object.
    pub(super) fn get_file(&self, name: &str, path: &Path) -> Result<Option<Got>> {
        let (store, key, failed) = (self.store.clone(), self.key(name), self.failed("get", name));
        let path = path.to_owned();
        self.wait(async move {
            let io = |e| Error::io(format!("write {}", path.display()), e);
            let found = match store.get(&key).await {
                Ok(found) => found,
                Err(StoreError::NotFound { .. }) => return Ok(None),
                Err(e) => return Err(failed(e)),
            };
            let mut file = File::create(&path).map_err(io)?;
            let (mut hasher, mut bytes) = (crc32fast::Hasher::new(), 0);
            let mut parts = found.into_stream();
            while let Some(part) = parts.next().await {
                let part = part.map_err(&failed)?;
                file.write_all(&part).map_err(io)?;
                hasher.update(&part);
                bytes += part.len() as u64;
            }
            Ok(Some(Got { bytes, crc: hasher.finalize() }))
        })
    }

    /// Puts a small object that must be new: the one way in which two engines find out about each other.
    pub(crate) fn create(&self, name: &str, bytes: Vec<u8>) -> Result<Put> {
        let (store, key, failed) = (self.store.clone(), self.key(name), self.failed("put", name));
        self.wait(async move {
            let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
            match store.put_opts(&key, PutPayload::from(bytes), options).await {
                Ok(_) => Ok(Put::Done),
                Err(StoreError::AlreadyExists { .. }) => Ok(Put::Exists),
                Err(e) => Err(failed(e)),
            }
        })
    }

    /// Puts a file of ours; one of that name is replaced.
    pub(super) fn put_file(&self, name: &str, path: &Path) -> Result<()> {
        let (store, key, failed) = (self.store.clone(), self.key(name), self.failed("put", name));
        let path = path.to_owned();
        self.wait(async move {
            let io = |e| Error::io(format!("read {}", path.display()), e);
            let mut file = File::open(&path).map_err(io)?;
            let first = part_of(&mut file).map_err(io)?;
            if first.len() < PART {
                return store.put(&key, PutPayload::from(first)).await.map(drop).map_err(failed);
            }
            let mut upload = store.put_multipart(&key).await.map_err(&failed)?;
            let mut part = first;
            let sent: Result<()> = async {
                while !part.is_empty() {
                    upload.put_part(PutPayload::from(std::mem::take(&mut part))).await.map_err(&failed)?;
                    part = part_of(&mut file).map_err(io)?;
                }
                upload.complete().await.map(drop).map_err(&failed)
            }
            .await;
            if sent.is_err() {
                // What is left of it costs money, no correctness.
                let _ = upload.abort().await;
            }
            sent
        })
    }

    /// Deletes an object; one that is not there is fine.
    pub(crate) fn delete(&self, name: &str) -> Result<()> {
        let (store, key, failed) = (self.store.clone(), self.key(name), self.failed("delete", name));
        self.wait(async move {
            match store.delete(&key).await {
                Ok(()) | Err(StoreError::NotFound { .. }) => Ok(()),
                Err(e) => Err(failed(e)),
            }
        })
    }

    /// Names and bytes of all objects in a folder.
    pub(crate) fn list(&self, folder: &str) -> Result<Vec<(String, u64)>> {
        let (store, key, failed) = (self.store.clone(), self.key(folder), self.failed("list", folder));
        let prefix = format!("{}/", self.prefix);
        self.wait(async move {
            let found: Vec<_> = store.list(Some(&key)).try_collect().await.map_err(failed)?;
            let named =
                |o: object_store::ObjectMeta| Some((o.location.as_ref().strip_prefix(&prefix)?.to_owned(), o.size));
            Ok(found.into_iter().filter_map(named).collect())
        })
    }
}

impl Drop for Objects {
    fn drop(&mut self) {
        // The last one to hold the engine may be a task, which may not wait for threads.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// The next part of a file; shorter at its end.
fn part_of(file: &mut File) -> std::io::Result<Vec<u8>> {
    let mut part = Vec::new();
    file.take(PART as u64).read_to_end(&mut part)?;
    Ok(part)
}
