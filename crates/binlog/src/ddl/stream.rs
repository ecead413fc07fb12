//! The reading of DDL as the decoder and the sources ask for it: collations by number, no filter (the decoder has it).

use tidelake_core::types::text::ServerFlavor;
use tidelake_core::{Catalog, Result, TableDef};

use super::{DdlContext, DdlOutcome, SessionDefaults};
use crate::mysql::decoder::port;
use crate::mysql::rows::charset::of_collation;

/// [`changes`](super::changes) for [`BinlogDecoder`](crate::mysql::decoder::BinlogDecoder).
#[must_use]
pub fn interpret(sql: &str, context: &port::DdlContext<'_>, catalog: &Catalog) -> port::DdlOutcome {
    let session = SessionDefaults {
        collation: context.server.and_then(collation_name),
        charset_collations: overrides(context),
        implicit_timestamps: false,
        utc_offset_seconds: None,
    };
    let own = DdlContext {
        database: context.database,
        flavor: context.flavor,
        sql_mode: context.sql_mode,
        session: &session,
        position: context.position,
        wanted: &|_| true,
    };
    match super::changes(sql, &own, catalog) {
        DdlOutcome::Ignore => port::DdlOutcome::Ignore,
        DdlOutcome::Changes(changes) => port::DdlOutcome::Changes(changes),
        DdlOutcome::Resync { changes, tables, reason } => port::DdlOutcome::Resync { changes, tables, reason },
    }
}

/// [`parse_create_table`](super::parse_create_table) for the text of SHOW CREATE TABLE, which leaves nothing to the session.
///
/// # Errors
/// As there.
pub fn create_table(sql: &str, database: &str, flavor: ServerFlavor) -> Result<TableDef> {
    super::parse_create_table(sql, database, flavor, &SessionDefaults::default())
}

fn overrides(context: &port::DdlContext<'_>) -> Vec<(String, String)> {
    let mut out = Vec::new();
    for (charset, collation) in context.charset_collations {
        if let (Some(charset), Some(collation)) = (of_collation(*charset), collation_name(*collation)) {
            out.push((charset.to_owned(), collation));
        }
    }
    if let Some(collation) = context.default_utf8mb4.and_then(collation_name) {
        out.push(("utf8mb4".to_owned(), collation));
    }
    out
}

/// The names of the collations that servers, databases and charsets have as their defaults; other collations by the
/// default of their charset, which holds the same characters.
fn collation_name(id: u16) -> Option<String> {
    let charset = of_collation(id)?;
    let family = match id {
        45 | 33 | 35 | 54 | 56 | 60 => "general_ci",
        8 => "swedish_ci",
        47 | 83 | 46 | 55 | 61 | 62 | 65 | 90 => "bin",
        192 | 224 | 101 | 128 | 160 => "unicode_ci",
        246 => "unicode_520_ci",
        255 => "0900_ai_ci",
        278 => "0900_as_cs",
        309 => "0900_bin",
        2048 | 2304 | 2560 | 2816 | 3072 => "uca1400_ai_ci",
        63 => return Some("binary".to_owned()),
        _ => {
            let session = SessionDefaults::default();
            return Some(super::charset::default_collation(charset, ServerFlavor::MariaDb, &session));
        }
    };
    Some(format!("{charset}_{family}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn default_collations_have_their_names() {
        for (id, name) in [
            (8, "latin1_swedish_ci"),
            (33, "utf8mb3_general_ci"),
            (45, "utf8mb4_general_ci"),
            (46, "utf8mb4_bin"),
            (255, "utf8mb4_0900_ai_ci"),
            (2304, "utf8mb4_uca1400_ai_ci"),
            (63, "binary"),
            (28, "gbk_chinese_ci"),
        ] {
            assert_eq!(collation_name(id).as_deref(), Some(name), "{id}");
        }
    }
}
