//! A bin log file with whatever stands in it, plain or compressed, checksums and all.
#![no_main]

use std::cell::RefCell;
use std::io::{Seek, SeekFrom, Write};
use std::sync::Arc;

use tempfile::NamedTempFile;
use tidelake_binlog::file::directory::BinlogFile;
use tidelake_binlog::file::reader::{EventReader, Next};

/// They may stand for twenty thousand times as many, and one event may have a gigabyte.
const MOST_COMPRESSED: usize = 4096;

thread_local! {
    static FILE: RefCell<NamedTempFile> = RefCell::new(NamedTempFile::new().expect("a temporary file"));
}

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    let Some((how, bytes)) = input.split_first() else { return };
    FILE.with_borrow_mut(|file| {
        let on_disk = file.as_file_mut();
        on_disk.set_len(0).expect("an empty file");
        on_disk.seek(SeekFrom::Start(0)).expect("its beginning");
        on_disk.write_all(bytes).expect("written");
        let path = file.path().to_owned();
        let compressed = how & 1 == 1;
        if compressed && bytes.len() > MOST_COMPRESSED {
            return;
        }
        let (number, bytes) = (1, bytes.len() as u64);
        let file = BinlogFile { name: "binlog.000001".into(), path, number, compressed, bytes };
        let Ok(mut reader) = EventReader::open(&file, &Arc::default()) else { return };
        let events = std::iter::from_fn(|| match reader.advance() {
            Ok(Next::Event) => Some(reader.event().to_vec()),
            _ => None,
        });
        tidelake_fuzz::decode_events(events);
    });
});
