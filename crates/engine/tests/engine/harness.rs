//! Engines over temporary directories, that can be crashed.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use tempfile::TempDir;
use tidelake_core::Error;
use tidelake_core::ports::StoreEngine;
use tidelake_core::testing::conformance::store::{StoreFactory, StoreUnderTest};
use tidelake_engine::{EngineOptions, MagicEngine, ObjectPlace};
use tidelake_testkit::S3;

/// A directory in memory where the machine has one: thousands of small flushes wait for the disk otherwise.
pub fn tempdir() -> TempDir {
    let memory = std::path::Path::new("/dev/shm");
    if memory.is_dir() { tempfile::tempdir_in(memory).unwrap() } else { tempfile::tempdir().unwrap() }
}

/// Options that make small data behave like large data.
pub fn small(dir: &TempDir) -> EngineOptions {
    let mut options = EngineOptions::new(dir.path().join("engine"));
    options.row_group_rows = 16;
    options.split_rows = 3;
    options.read_bytes = 100;
    options.max_files = 1000;
    options.max_dead = 1.0;
    options
}

/// The same with files in an object store: a prefix of its own on the one server of this process.
pub fn over_s3(options: EngineOptions) -> EngineOptions {
    static SERVER: OnceLock<S3> = OnceLock::new();
    static PREFIXES: AtomicU64 = AtomicU64::new(1);
    let server = SERVER.get_or_init(|| {
        let server = S3::start();
        server.create_bucket("engine");
        server
    });
    let prefix = PREFIXES.fetch_add(1, Ordering::Relaxed);
    let url = format!("s3://engine/t/{prefix}?endpoint={}&region={}", server.endpoint(), S3::REGION);
    let place = ObjectPlace::parse(&url).unwrap().with_credentials(S3::ACCESS_KEY, S3::SECRET_KEY);
    EngineOptions { objects: Some(place), ..options }
}

/// Opens, waiting for readers of the engine before to let go of the directory.
pub async fn open(options: &EngineOptions) -> Arc<MagicEngine> {
    for _ in 0..500 {
        match MagicEngine::open(options.clone()).await {
            Err(Error::Unavailable(_)) => tokio::time::sleep(Duration::from_millis(10)).await,
            other => return other.expect("open engine"),
        }
    }
    panic!("the directory stays locked");
}

pub struct Magic {
    options: EngineOptions,
    engine: Option<Arc<MagicEngine>>,
    _dir: TempDir,
}

#[async_trait]
impl StoreUnderTest for Magic {
    fn engine(&self) -> Arc<dyn StoreEngine> {
        self.engine.clone().expect("open")
    }

    async fn crash(&mut self) {
        self.engine = None;
        self.engine = Some(open(&self.options).await);
    }
}

/// Engines whose files are in their directories.
pub struct MagicFactory;

#[async_trait]
impl StoreFactory for MagicFactory {
    async fn open(&self) -> Box<dyn StoreUnderTest> {
        let dir = tempdir();
        let options = small(&dir);
        let engine = Some(open(&options).await);
        Box::new(Magic { options, engine, _dir: dir })
    }
}

/// Engines whose files are in an object store.
pub struct S3Factory;

#[async_trait]
impl StoreFactory for S3Factory {
    async fn open(&self) -> Box<dyn StoreUnderTest> {
        let dir = tempdir();
        let options = over_s3(small(&dir));
        let engine = Some(open(&options).await);
        Box::new(Magic { options, engine, _dir: dir })
    }
}
