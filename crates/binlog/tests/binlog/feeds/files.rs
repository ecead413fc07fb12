//! Plays a history into the files of a storage sink, as badly as at-least-once delivery allows.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use rand::Rng;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use tidelake_core::CellValue;
use tidelake_core::types::temporal::{date_of, split_micros};

use super::history::{Change, Commit, History, Kind, Row, Table};

/// What the files look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// Canal-JSON with the TiDB extension.
    Canal,
    /// CSV with quotes, commit-ts and old values.
    Csv,
    /// The same without a quote character: escapes.
    CsvEscaped,
}

/// A sink being written.
pub struct Sink {
    root: PathBuf,
    style: Style,
    rng: StdRng,
    /// Commits before this one are in the files.
    written: usize,
    numbers: BTreeMap<(PathBuf, String), u64>,
    layout: Layout,
}

/// How the sink names directories and files.
#[derive(Clone, Copy, Debug)]
struct Layout {
    /// `TABLE-ID/VERSION` instead of `DB/TABLE/VERSION`.
    by_id: bool,
    /// A directory for each partition of a table.
    partitions: bool,
    /// `CDC_<dispatcher>_<n>`: several at a time write rows of one table.
    across_nodes: bool,
}

/// `YYYY-MM-DD hh:mm:ss.ffffff`
pub fn moment(us: i64, digits: usize) -> String {
    let (day, time) = split_micros(us);
    let (year, month, day) = date_of(day);
    format!("{year:04}-{month:02}-{day:02} {}", clock(time, digits))
}

pub fn clock(us: i64, digits: usize) -> String {
    let sign = if us < 0 { "-" } else { "" };
    let (us, mut out) = (us.unsigned_abs(), String::new());
    let seconds = us / 1_000_000;
    write!(out, "{sign}{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60).unwrap();
    if digits > 0 {
        let fraction = format!("{:06}", us % 1_000_000);
        write!(out, ".{}", &fraction[..digits]).unwrap();
    }
    out
}

/// A value as both formats print it, but for bytes, ENUM and SET.
pub fn text(kind: Kind, value: &CellValue) -> String {
    match (kind, value) {
        (Kind::DateTime, CellValue::Int(us)) => moment(*us, 3),
        (Kind::Timestamp, CellValue::Int(us)) => moment(us + 8 * 3_600_000_000, 0),
        (Kind::Time, CellValue::Int(us)) => clock(*us, 6),
        (Kind::Date, CellValue::Int(day)) => moment(*day * 86_400_000_000, 0)[..10].to_owned(),
        (Kind::Vector, CellValue::Bytes(bytes)) => {
            let float = |b: &[u8]| f32::from_le_bytes([b[0], b[1], b[2], b[3]]).to_string();
            format!("[{}]", bytes.chunks(4).map(float).collect::<Vec<_>>().join(","))
        }
        (_, CellValue::Int(v)) => v.to_string(),
        (_, CellValue::UInt(v)) => v.to_string(),
        (Kind::Float, CellValue::Float(v)) => (*v as f32).to_string(),
        (_, CellValue::Float(v)) => format!("{v:e}").replace('e', "e+").replace("e+-", "e-"),
        (_, CellValue::Decimal(digits)) => {
            let (sign, digits) = digits.strip_prefix('-').map_or(("", digits.as_str()), |d| ("-", d));
            let digits = format!("{digits:0>4}");
            let (whole, fraction) = digits.split_at(digits.len() - 3);
            format!("{sign}{whole}.{fraction}")
        }
        (_, CellValue::Str(text)) => text.clone(),
        (_, CellValue::Bytes(bytes)) => bytes.iter().map(|b| char::from(*b)).collect(),
        (_, CellValue::Null) => unreachable!("NULL is spelled by the format"),
    }
}

pub fn json_row(table: &Table, row: &Row) -> serde_json::Value {
    let cell = |kind: Kind, value: &CellValue| match value {
        CellValue::Null => serde_json::Value::Null,
        value => text(kind, value).into(),
    };
    table
        .columns
        .iter()
        .map(|(name, kind)| (name.clone(), cell(*kind, &row[name])))
        .collect::<serde_json::Map<_, _>>()
        .into()
}

pub fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let digits = |chunk: &[u8]| {
        let bits = chunk.iter().fold(0u32, |v, b| v << 8 | u32::from(*b)) << (8 * (3 - chunk.len()));
        (0..4)
            .map(move |i| if i > chunk.len() { '=' } else { char::from(DIGITS[(bits >> (18 - 6 * i) & 63) as usize]) })
            .collect::<String>()
    };
    bytes.chunks(3).map(digits).collect()
}

impl Sink {
    pub fn new(root: &Path, style: Style, mut rng: StdRng) -> Sink {
        let layout = Layout { by_id: rng.random_ratio(1, 4), partitions: rng.random(), across_nodes: rng.random() };
        Sink { root: root.to_owned(), style, rng, written: 0, numbers: BTreeMap::new(), layout }
    }

    fn table_dir(&self, database: &str, table: &str) -> PathBuf {
        if self.layout.by_id && !table.is_empty() {
            let id = table.bytes().fold(7u64, |id, byte| id.wrapping_mul(31).wrapping_add(u64::from(byte))) % 100_000;
            return self.root.join(id.to_string());
        }
        self.root.join(database).join(table)
    }

    /// Writes commits up to `upto`, some beyond, some again; then the checkpoint of the last one before `upto`.
    pub fn write(&mut self, history: &History, upto: usize) {
        let beyond = (upto + self.rng.random_range(0..3)).min(history.commits.len());
        let from = self.written.saturating_sub(self.rng.random_range(0..6));
        // no row above a DDL that is not sent is ever sent
        let mut rows: BTreeMap<PathBuf, Vec<String>> = BTreeMap::new();
        for (ts, commit) in &history.commits[from..beyond] {
            match commit {
                Commit::Ddl { sql, database, table, after } => self.schema(*ts, sql, database, table, after.as_ref()),
                Commit::Rows(changes) => {
                    for change in changes {
                        self.change(*ts, change, &mut rows);
                    }
                }
            }
        }
        let mut dirs: Vec<_> = rows.into_iter().collect();
        dirs.shuffle(&mut self.rng);
        for (dir, lines) in dirs {
            self.data(&dir, lines);
        }
        self.written = upto;
        let checkpoint = history.commits[upto - 1].0;
        std::fs::write(self.root.join("metadata"), format!("{{\"checkpoint-ts\":{checkpoint}}}")).unwrap();
    }

    fn schema(&self, ts: u64, sql: &str, database: &str, table: &str, after: Option<&Table>) {
        let dir = self.table_dir(database, table).join("meta");
        std::fs::create_dir_all(&dir).unwrap();
        let columns: Vec<serde_json::Value> = after
            .iter()
            .flat_map(|t| &t.columns)
            .map(|(name, kind)| serde_json::json!({"ColumnName": name, "ColumnType": kind.sql()}))
            .collect();
        let total = columns.len();
        let text = serde_json::json!({"Table": table, "Schema": database, "Version": 1, "TableVersion": ts, "Query": sql,
            "Type": 3, "TableColumns": columns, "TableColumnsTotal": total});
        std::fs::write(dir.join(format!("schema_{ts}_0123456789.json")), text.to_string()).unwrap();
    }

    fn change(&mut self, ts: u64, change: &Change, rows: &mut BTreeMap<PathBuf, Vec<String>>) {
        let table = &change.table;
        let date = if self.rng.random() { "2026-11-28" } else { "2026-11-29" };
        let mut dir = self.table_dir(&table.name.database, &table.name.table).join(table.version.to_string());
        if self.layout.partitions {
            dir.push(["101", "102"][self.rng.random_range(0..2)]);
        }
        dir.push(date);
        let lines = rows.entry(dir).or_default();
        let copies = if self.rng.random_ratio(1, 10) { 2 } else { 1 };
        for _ in 0..copies {
            match self.style {
                Style::Canal => canal(ts, change, self.rng.random(), lines),
                Style::Csv | Style::CsvEscaped => csv(self.style, ts, change, lines),
            }
        }
    }

    /// Cuts lines into files; now and then a file is cut short, and its lines come again.
    fn data(&mut self, dir: &Path, mut lines: Vec<String>) {
        std::fs::create_dir_all(dir).unwrap();
        let extension = if self.style == Style::Canal { "json" } else { "csv" };
        if self.rng.random_ratio(1, 3) {
            lines.shuffle(&mut self.rng); // several dispatchers
        }
        while !lines.is_empty() {
            let count = self.rng.random_range(1..=lines.len());
            let dispatcher = if self.layout.across_nodes { ["6a_b", "7c"][self.rng.random_range(0..2)] } else { "" };
            let number = self.numbers.entry((dir.to_owned(), dispatcher.to_owned())).or_insert(0);
            *number += 1;
            let (prefix, digits) =
                if dispatcher.is_empty() { ("CDC".to_owned(), 20) } else { (format!("CDC_{dispatcher}_"), 6) };
            let path = dir.join(format!("{prefix}{number:0digits$}.{extension}"));
            // a hint that may lag or lead
            let hint = (*number + 1).saturating_sub(self.rng.random_range(0..3)).max(1);
            let index = dir.join("meta").join(format!("{}.index", prefix.trim_end_matches('_')));
            std::fs::create_dir_all(dir.join("meta")).unwrap();
            std::fs::write(index, format!("{prefix}{hint:0digits$}.{extension}\n")).unwrap();
            let mut text: String = lines[..count].iter().map(|l| format!("{l}\r\n")).collect();
            if self.rng.random_ratio(1, 6) {
                let cut = (0..text.len().saturating_sub(3)).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
                text.truncate(cut);
            } else {
                lines.drain(..count);
            }
            std::fs::write(path, text).unwrap();
        }
    }
}

fn canal(ts: u64, change: &Change, split: bool, lines: &mut Vec<String>) {
    let table = &change.table;
    let row = |row: &Option<Row>| row.as_ref().map(|r| json_row(table, r));
    let (old, new) = (row(&change.old), row(&change.new));
    let mut line = |kind: &str, data: &serde_json::Value, old: Option<&serde_json::Value>| {
        let message = serde_json::json!({"id": 0, "database": table.name.database, "table": table.name.table, "pkNames": ["id"],
            "isDdl": false, "type": kind, "es": ts >> 18, "ts": ts >> 18, "sql": "", "sqlType": {}, "mysqlType": {},
            "data": [data], "old": old.map(|o| vec![o]), "_tidb": {"commitTs": ts}});
        lines.push(message.to_string());
    };
    match (&old, &new) {
        // a restarted changefeed may split an UPDATE that it sent whole before
        (Some(old), Some(new)) if split => {
            line("DELETE", old, None);
            line("INSERT", new, None);
        }
        (Some(old), Some(new)) => line("UPDATE", new, Some(old)),
        (Some(old), None) => line("DELETE", old, None),
        (None, Some(new)) => line("INSERT", new, None),
        (None, None) => {}
    }
}

fn csv(style: Style, ts: u64, change: &Change, lines: &mut Vec<String>) {
    let quoted = |text: &str| match style {
        Style::CsvEscaped => text.replace('\\', "\\\\").replace('\r', "\\r").replace('\n', "\\n").replace(',', "\\,"),
        _ => format!("\"{}\"", text.replace('"', "\"\"")),
    };
    let labels = |kind: Kind, value: u64| match kind {
        Kind::Enum => ["red", "green", "it's"][value as usize - 1].to_owned(),
        _ => ["a", "b", "c"]
            .iter()
            .enumerate()
            .filter(|(i, _)| value >> i & 1 == 1)
            .map(|(_, l)| *l)
            .collect::<Vec<_>>()
            .join(","),
    };
    let field = |kind: Kind, value: &CellValue| match (kind, value) {
        (_, CellValue::Null) => "\\N".to_owned(),
        (Kind::Enum | Kind::Set, CellValue::UInt(v)) => quoted(&labels(kind, *v)),
        (Kind::Vector, value) => quoted(&text(kind, value)),
        (_, CellValue::Bytes(bytes)) => quoted(&base64(bytes)),
        (Kind::Int | Kind::BigInt | Kind::BigUnsigned | Kind::Double | Kind::Float | Kind::Bit | Kind::Year, value) => {
            text(kind, value)
        }
        (_, value) => quoted(&text(kind, value)),
    };
    let table = &change.table;
    let both = change.old.is_some() && change.new.is_some();
    for (op, row) in [("D", &change.old), ("I", &change.new)] {
        let Some(row) = row else { continue };
        let mut fields =
            vec![quoted(op), quoted(&table.name.table), quoted(&table.name.database), ts.to_string(), both.to_string()];
        fields.extend(table.columns.iter().map(|(name, kind)| field(*kind, &row[name])));
        lines.push(fields.join(","));
    }
}
