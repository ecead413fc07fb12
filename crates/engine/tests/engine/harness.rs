//! Engines over temporary directories, that can be crashed.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tempfile::TempDir;
use tidelake_core::Error;
use tidelake_core::ports::StoreEngine;
use tidelake_core::testing::conformance::store::{StoreFactory, StoreUnderTest};
use tidelake_engine::{EngineOptions, MagicEngine};

/// A directory in memory where the machine has one: thousands of small flushes wait for the disk otherwise.
pub fn tempdir() -> TempDir {
    let memory = std::path::Path::new("/dev/shm");
    if memory.is_dir() { tempfile::tempdir_in(memory).unwrap() } else { tempfile::tempdir().unwrap() }
}

/// Options that make small data behave like large data.
pub fn small(dir: &TempDir) -> EngineOptions {
    let mut options = EngineOptions::new(dir.path().join("engine"));
    options.row_group_rows = 16;
    options.max_files = 1000;
    options.max_dead = 1.0;
    options
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
