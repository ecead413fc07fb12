//! Statements, one after the other against a catalog that follows them: lines of an input, behind a byte for the dialect and one
//! for the `sql_mode`.
#![no_main]

use tidelake_binlog::ddl::{
    DdlContext, DdlOutcome, Done, MODE_ANSI_QUOTES, MODE_NO_BACKSLASH_ESCAPES, MODE_STRICT_TRANS_TABLES,
    SessionDefaults, changes, create_table,
};
use tidelake_core::types::text::ServerFlavor;
use tidelake_core::{Catalog, CommitSeq, SourcePosition};

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    let [dialect, mode, text @ ..] = input else { return };
    let flavor = [ServerFlavor::MySql, ServerFlavor::MariaDb, ServerFlavor::TiDb][usize::from(*dialect) % 3];
    let modes = [MODE_ANSI_QUOTES, MODE_NO_BACKSLASH_ESCAPES, MODE_STRICT_TRANS_TABLES];
    let sql_mode = (0..3).filter(|bit| mode >> bit & 1 == 1).map(|bit| modes[bit]).sum();
    let done = [Done::Yes, Done::NotInInnoDb, Done::Untold][usize::from(mode >> 4) % 3];
    let session = SessionDefaults {
        implicit_timestamps: mode & 8 == 8,
        utc_offset_seconds: Some(0),
        ..SessionDefaults::default()
    };
    let text = String::from_utf8_lossy(text);
    let (mut catalog, position) = (Catalog::default(), SourcePosition::default());
    for sql in text.split('\n') {
        let _ = create_table(sql, "d", flavor);
        let context = DdlContext {
            database: "d",
            flavor,
            sql_mode,
            session: &session,
            illegible: false,
            failed: false,
            done,
            copies: true,
            position: &position,
            wanted: &|_| true,
        };
        let (DdlOutcome::Changes(steps) | DdlOutcome::Resync { changes: steps, .. }) = changes(sql, &context, &catalog)
        else {
            continue;
        };
        for step in &steps {
            catalog.apply(CommitSeq(1), step).expect("each step fits the catalog after the one before");
        }
    }
});
