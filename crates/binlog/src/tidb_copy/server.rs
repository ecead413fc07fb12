//! The rows of a server: TiDB over the MySQL protocol, every session at one `tidb_snapshot`.
//!
//! Text comes as UTF-8 whatever the column's charset, so cells are as in a feed. A table with a primary key that the server can walk is
//! read in its order, and read on behind the last chunk; other tables are read in one piece, in no order.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Row};
use tidelake_core::types::text::ServerFlavor;
use tidelake_core::{Error, Result, TableDef, TableName, TypeKind};
use tokio::sync::mpsc;

use super::rows::{TextCell, TextRows, refused};
use super::{Chunk, ReadError, Snapshot, SnapshotTable};
use crate::ddl::{SessionDefaults, parse_create_table};
use crate::filter::TableFilter;
use crate::service::connect::Connector;
use crate::service::copy::cursor::{Cursor, Range};
use crate::service::copy::job::{cell, cells};
use crate::service::copy::select::{has_key_order, range_sql, whole_sql};
use crate::service::history::{quoted, text};
use crate::service::url::UpstreamUrl;
use crate::ticdc::databases::Databases;
use crate::ticdc::decoder::ddl::without_features;

/// Bytes of rows after which a chunk ends early.
const CHUNK_BYTES: u64 = 16 << 20;
/// TiCDC's own database, which it leaves out of its feeds.
const OF_TICDC: &str = "tidb_cdc";
/// Errors of TiDB that say that the snapshot is gone: GC went past it.
const COLLECTED: [u16; 2] = [8055, 9006];

/// What stands behind `--copy-from mysql://`.
#[derive(Clone)]
pub struct ServerOptions {
    url: UpstreamUrl,
    tso: Option<u64>,
}

impl ServerOptions {
    /// Reads `mysql://USER:PASSWORD@HOST:PORT/?tso=N&ssl-mode=...`.
    ///
    /// # Errors
    /// [`Error::Invalid`] that says which part is wrong; never with the password.
    pub fn parse(text: &str) -> Result<ServerOptions> {
        let (url, query) = text.split_once('?').unwrap_or((text, ""));
        let mut tso = None;
        let mut kept = Vec::new();
        for pair in query.split('&').filter(|p| !p.is_empty()) {
            match pair.strip_prefix("tso=") {
                Some(value) => tso = Some(parse_tso(value)?),
                None => kept.push(pair),
            }
        }
        Ok(ServerOptions { url: UpstreamUrl::parse(&format!("{url}?{}", kept.join("&")))?, tso })
    }
}

/// Reads a TSO.
///
/// # Errors
/// [`Error::Invalid`] if it is none.
pub fn parse_tso(text: &str) -> Result<u64> {
    // a date or a number of seconds is far below any TSO of this century
    let tso = text.parse().ok().filter(|tso: &u64| *tso >> 18 > 946_684_800_000 && i64::try_from(*tso).is_ok());
    tso.ok_or_else(|| Error::Invalid(format!("{text:?} is no TSO: give the number that is the changefeed's start-ts")))
}

impl fmt::Debug for ServerOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {:?}", self.url, self.tso)
    }
}

/// See the module.
pub struct ServerSnapshot {
    connector: Connector,
    tso: Option<u64>,
    filter: TableFilter,
    chunk_rows: usize,
}

impl ServerSnapshot {
    /// Connects when it is first asked.
    #[must_use]
    pub fn new(options: &ServerOptions, filter: TableFilter, chunk_rows: usize) -> ServerSnapshot {
        ServerSnapshot { connector: Connector::new(options.url.clone()), tso: options.tso, filter, chunk_rows }
    }

    fn error(&self, doing: &str, error: &mysql_async::Error) -> ReadError {
        if let mysql_async::Error::Server(e) = error
            && COLLECTED.contains(&e.code)
        {
            return ReadError::Fatal(Error::Invalid(format!(
                "{doing}: the snapshot is gone ({}): set tidb_gc_life_time longer than the copy takes, begin a new changefeed, and start with an empty data directory",
                e.message
            )));
        }
        match self.connector.table_error(doing, error) {
            wrong @ Error::Invalid(_) => ReadError::Fatal(wrong),
            other => ReadError::Passing(other),
        }
    }

    async fn run(&self, conn: &mut Conn, sql: &str) -> Result<(), ReadError> {
        conn.query_drop(sql).await.map_err(|e| self.error("set up the session for the copy", &e))
    }

    async fn connect(&self) -> Result<Conn, ReadError> {
        let mut conn = self.connector.connect_plain().await.map_err(|e| match e {
            wrong @ Error::Invalid(_) => ReadError::Fatal(wrong),
            other => ReadError::Passing(other),
        })?;
        for sql in [
            "SET NAMES utf8mb4",
            "SET SESSION time_zone = '+00:00'",
            "SET SESSION sql_mode = 'ALLOW_INVALID_DATES'",
            "SET SESSION sql_quote_show_create = 1",
            "SET SESSION net_write_timeout = 3600",
            "SET SESSION wait_timeout = 86400",
        ] {
            self.run(&mut conn, sql).await?;
        }
        Ok(conn)
    }

    /// A session that sees everything as of `tso`.
    async fn session(&self, tso: u64) -> Result<Conn, ReadError> {
        let mut conn = self.connect().await?;
        self.run(&mut conn, &format!("SET SESSION tidb_snapshot = '{tso}'")).await?;
        let set: Option<Row> = conn
            .query_first("SELECT @@SESSION.tidb_snapshot")
            .await
            .map_err(|e| self.error("ask for the session's snapshot", &e))?;
        if set.as_ref().and_then(|row| text(row, 0)).as_deref() != Some(tso.to_string().as_str()) {
            let address = self.connector.address();
            return Err(ReadError::Fatal(Error::Invalid(format!(
                "{address} does not keep tidb_snapshot: is it TiDB?"
            ))));
        }
        Ok(conn)
    }

    async fn definition(&self, conn: &mut Conn, name: &TableName) -> Result<Result<TableDef, String>, ReadError> {
        let sql = format!("SHOW CREATE TABLE {}", crate::service::quoted_name(name));
        let row: Option<Row> =
            conn.query_first(sql).await.map_err(|e| self.error(&format!("read the schema of {name}"), &e))?;
        let sql = row.as_ref().and_then(|row| text(row, 1)).unwrap_or_default();
        Ok(definition(&sql, name))
    }
}

/// The definition of a table whose rows a feed sends.
///
/// # Errors
/// Why it cannot be copied.
pub fn definition(sql: &str, name: &TableName) -> Result<TableDef, String> {
    let session = SessionDefaults { collation: Some("utf8mb4_bin".into()), ..SessionDefaults::default() };
    let parsed = parse_create_table(&without_features(sql), &name.database, ServerFlavor::TiDb, &session);
    let def = TableDef { name: name.clone(), ..parsed.map_err(|e| e.to_string())? };
    refused(&def).map_or(Ok(def), Err)
}

/// The table as the session shows it: all text in UTF-8.
fn shown(def: &TableDef) -> TableDef {
    let mut def = def.clone();
    for column in &mut def.columns {
        if column.ty.is_text() {
            column.ty.charset = Some("utf8mb4".into());
        }
    }
    def
}

#[async_trait]
impl Snapshot for ServerSnapshot {
    async fn tso(&self) -> Result<u64> {
        if let Some(tso) = self.tso {
            return Ok(tso);
        }
        let of = |e: ReadError| match e {
            ReadError::Passing(e) | ReadError::Fatal(e) => e,
            ReadError::Table(reason) => Error::Invalid(reason),
        };
        let mut conn = self.connect().await.map_err(of)?;
        self.run(&mut conn, "START TRANSACTION WITH CONSISTENT SNAPSHOT").await.map_err(of)?;
        let row: Option<Row> = conn
            .query_first("SELECT @@tidb_current_ts")
            .await
            .map_err(|e| of(self.error("ask for the current TSO (is it TiDB?)", &e)))?;
        parse_tso(&row.as_ref().and_then(|row| text(row, 0)).unwrap_or_default())
    }

    async fn tables(&self, tso: u64) -> Result<Vec<SnapshotTable>, ReadError> {
        let mut conn = self.session(tso).await?;
        let sql = format!(
            "SELECT TABLE_SCHEMA, TABLE_NAME, COALESCE(TABLE_ROWS, 0) FROM information_schema.TABLES \
             WHERE TABLE_TYPE IN ('BASE TABLE', 'SYSTEM VERSIONED') AND TABLE_SCHEMA <> {}",
            quoted(OF_TICDC)
        );
        let rows: Vec<Row> = conn.query(sql).await.map_err(|e| self.error("list the tables", &e))?;
        let mut tables = Vec::new();
        for row in &rows {
            let (Some(database), Some(table)) = (text(row, 0), text(row, 1)) else { continue };
            let name = TableName::new(database, table);
            if !self.filter.wants(&name) {
                continue;
            }
            let estimated_rows = text(row, 2).and_then(|n| n.parse().ok()).unwrap_or(0);
            let def = self.definition(&mut conn, &name).await?;
            tables.push(SnapshotTable { name, estimated_rows, def });
        }
        Ok(tables)
    }

    async fn databases(&self, tso: u64) -> Result<Databases, ReadError> {
        let mut conn = self.session(tso).await?;
        let sql = "SELECT SCHEMA_NAME, DEFAULT_COLLATION_NAME FROM information_schema.SCHEMATA";
        let rows: Vec<Row> = conn.query(sql).await.map_err(|e| self.error("list the databases", &e))?;
        let named = rows.iter().filter_map(|row| Some((text(row, 0)?, text(row, 1)?.to_ascii_lowercase())));
        Ok(Databases::of(named.filter(|(name, _)| self.filter.wants_database(name))))
    }

    fn has_any_tso(&self) -> bool {
        true
    }

    fn resumes(&self, def: &TableDef) -> bool {
        def.key_is_primary && has_key_order(def)
    }

    async fn read(&self, tso: u64, def: &TableDef, at: &str, out: mpsc::Sender<Chunk>) -> Result<(), ReadError> {
        let mut conn = self.session(tso).await?;
        let shown = shown(def);
        let internal = |e: Error| ReadError::Fatal(e);
        let mut cursor = Cursor::parse(at).map_err(internal)?;
        let ordered = self.resumes(def);
        let range = Range { after: cursor.frontier.clone(), upto: None };
        let sql = if ordered { range_sql(&shown, &range).map_err(internal)? } else { whole_sql(&shown) };
        let mut rows = TextRows::new(&Arc::new(def.clone()), "UTC", false).map_err(internal)?;
        let raw: Vec<bool> = def.columns.iter().map(|c| c.ty.is_binary() || c.ty.kind == TypeKind::Bit).collect();
        let doing = format!("read {}", def.name);
        let mut result = conn.query_iter(sql).await.map_err(|e| self.error(&doing, &e))?;
        while let Some(row) = result.next().await.map_err(|e| self.error(&doing, &e))? {
            let texts = cells(&row).zip(&raw).map(|(cell, raw)| cell.map(|bytes| TextCell { bytes, raw: *raw }));
            rows.push(texts).map_err(|e| ReadError::Table(e.0.into()))?;
            if ordered {
                let key = def.key_indexes().into_iter();
                cursor.frontier = key.map(|i| cell(&row, i).unwrap_or_default().to_vec()).collect();
            }
            if rows.rows() >= self.chunk_rows.max(1) || rows.bytes() >= CHUNK_BYTES {
                cursor.rows += rows.rows() as u64;
                let bytes = rows.bytes();
                let chunk = Chunk { rows: rows.finish().map_err(internal)?, bytes, at: cursor.to_string() };
                if out.send(chunk).await.is_err() {
                    return Ok(());
                }
            }
        }
        cursor.rows += rows.rows() as u64;
        let bytes = rows.bytes();
        let last = Chunk { rows: rows.finish().map_err(internal)?, bytes, at: cursor.to_string() };
        // nobody to send to: nothing more is wanted
        let _ = out.send(last).await;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_read_and_the_password_is_not_shown() {
        let options =
            ServerOptions::parse("mysql://u:secret@h:4000/?tso=441349361156227074&ssl-mode=required").unwrap();
        assert_eq!(options.tso, Some(441_349_361_156_227_074));
        assert_eq!(format!("{options:?}"), "mysql://u@h:4000 at Some(441349361156227074)");
        assert_eq!(ServerOptions::parse("mysql://u@h:4000").unwrap().tso, None);
        for wrong in
            ["mysql://u:secret@h/?tso=1700000000", "mysql://u:secret@h/?tso=2024-01-01", "mysql://u:secret@h/?x=1"]
        {
            let error = ServerOptions::parse(wrong).unwrap_err().to_string();
            assert!(!error.contains("secret"), "{error}");
        }
    }

    #[test]
    fn tidb_definitions() {
        let name = TableName::new("d", "t");
        let sql = "CREATE TABLE `t` (\n  `id` bigint(20) NOT NULL /*T![auto_rand] AUTO_RANDOM(5) */,\n  `g` varchar(9) CHARACTER SET gbk COLLATE gbk_chinese_ci DEFAULT NULL,\n  PRIMARY KEY (`id`) /*T![clustered_index] CLUSTERED */\n) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin /*T![auto_rand_base] AUTO_RANDOM_BASE=30001 */";
        let def = definition(sql, &name).expect("a definition");
        assert_eq!((def.name.clone(), def.key.len(), def.key_is_primary), (name.clone(), 1, true));
        assert_eq!(shown(&def).columns[1].ty.charset.as_deref(), Some("utf8mb4"));
        let virtual_column = "CREATE TABLE `t` (`a` int, `b` int GENERATED ALWAYS AS (`a` + 1) VIRTUAL)";
        assert!(definition(virtual_column, &name).unwrap_err().contains("VIRTUAL"));
        assert!(definition("CREATE TABLE", &name).is_err());
    }
}
