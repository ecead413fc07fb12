use std::sync::Arc;
use std::time::Duration;

use tidelake_core::ports::Buffer;
use tidelake_core::testing::conformance::buffer::{BufferBench, run_all};

use crate::{BufferOptions, DiskBuffer};

#[test]
fn small_segments_conform() {
    run_all(|| {
        let dir = tempfile::tempdir().unwrap();
        BufferBench::new(move |limit| DiskBuffer::open(super::options(dir.path(), limit)).unwrap() as Arc<dyn Buffer>)
    });
}

#[test]
fn chunks_wider_than_segments_conform() {
    run_all(|| {
        let dir = tempfile::tempdir().unwrap();
        BufferBench::new(move |limit_bytes| {
            let dir = dir.path().to_owned();
            DiskBuffer::open(BufferOptions {
                dir,
                limit_bytes,
                segment_bytes: 2 << 10,
                spill_bytes: 15 << 10,
                history: Duration::MAX,
            })
            .unwrap()
        })
    });
}
