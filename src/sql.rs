//! `tidelake sql`: statements on a running Tidelake, rows as a table, CSV or JSON.

use std::io::{IsTerminal, Read, Write};

use anyhow::{Context, Result, bail};
use mysql_async::consts::ColumnType;
use mysql_async::prelude::Queryable;
use mysql_async::{ClientIdentity, Column, Conn, OptsBuilder, Row, SslOpts, Value};
use unicode_width::UnicodeWidthStr;

use crate::access::args::ClientTlsArgs;
use crate::cli::{OutputFormat, SqlArgs};
use crate::options::FreshnessArg;

/// `tidelake sql`.
///
/// # Errors
/// If nothing listens there or a statement fails.
pub fn sql(mut args: SqlArgs) -> Result<()> {
    if args.statements == "-" {
        if std::io::stdin().is_terminal() {
            eprintln!("reading statements from the terminal; end with Ctrl-D");
        }
        args.statements.clear();
        std::io::stdin().read_to_string(&mut args.statements).context("read statements from standard input")?;
    }
    crate::run::runtime()?.block_on(run(&args))
}

async fn run(args: &SqlArgs) -> Result<()> {
    let mut conn = connect(args).await?;
    if let Some(freshness) = args.freshness {
        let level = if freshness == FreshnessArg::Latest { "latest" } else { "any" };
        conn.query_drop(format!("SET tidelake_freshness = '{level}'")).await?;
    }
    for statement in split_statements(&args.statements) {
        print_result(&mut conn, statement, args.format).await?;
    }
    conn.disconnect().await.ok();
    Ok(())
}

/// Connects to a running Tidelake.
///
/// # Errors
/// If nothing listens there.
pub async fn connect(args: &SqlArgs) -> Result<Conn> {
    let Some((host, port)) = args.connect.rsplit_once(':') else {
        bail!("--connect {:?} is not an address: write HOST:PORT, e.g. 127.0.0.1:4001", args.connect);
    };
    let port: u16 = port.parse().with_context(|| format!("port {port:?} in --connect"))?;
    let opts = OptsBuilder::default()
        .ip_or_hostname(host.trim_matches(['[', ']']))
        .tcp_port(port)
        .user(Some(args.user.clone()))
        .pass(args.password.clone())
        .db_name(args.database.clone())
        .prefer_socket(false);
    match Conn::new(opts.ssl_opts(encryption(&args.tls)?)).await {
        Ok(conn) => Ok(conn),
        Err(mysql_async::Error::Io(error)) => Err(error).with_context(|| {
            format!("no tidelake listens on {}: start one with `tidelake run`, or name it with --connect", args.connect)
        }),
        Err(error) => Err(error.into()),
    }
}

/// TLS if certificates are given.
fn encryption(args: &ClientTlsArgs) -> Result<Option<SslOpts>> {
    let ClientTlsArgs { ca, cert, key } = args;
    if ca.is_none() && cert.is_none() {
        return Ok(None);
    }
    for file in [ca, cert, key].into_iter().flatten() {
        std::fs::metadata(file).with_context(|| format!("read {}", file.display()))?;
    }
    let mut tls = SslOpts::default();
    if let Some(ca) = ca {
        tls = tls.with_disable_built_in_roots(true).with_root_certs(vec![ca.clone().into()]);
    }
    if let (Some(cert), Some(key)) = (cert, key) {
        tls = tls.with_client_identity(Some(ClientIdentity::new(cert.clone().into(), key.clone().into())));
    }
    Ok(Some(tls))
}

/// Runs one statement and prints its rows.
///
/// # Errors
/// The server's error, with its number.
pub async fn print_result(conn: &mut Conn, statement: &str, format: OutputFormat) -> Result<()> {
    let mut result = match conn.query_iter(statement).await {
        Ok(result) => result,
        Err(mysql_async::Error::Server(e)) => bail!("{} ({}): {}", e.code, e.state, e.message),
        Err(e) => return Err(e.into()),
    };
    let Some(columns) = result.columns() else { return Ok(()) };
    if columns.is_empty() {
        return Ok(());
    }
    let rows: Vec<Row> = if format == OutputFormat::Table { result.collect().await? } else { Vec::new() };
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    match format {
        OutputFormat::Table => write!(out, "{}", table(&columns, &rows))?,
        OutputFormat::Csv => {
            writeln!(out, "{}", columns.iter().map(|c| csv(c.name_str().as_bytes())).collect::<Vec<_>>().join(","))?;
            while let Some(row) = result.next().await? {
                writeln!(out, "{}", row.unwrap().iter().map(csv_value).collect::<Vec<_>>().join(","))?;
            }
        }
        OutputFormat::Json => {
            while let Some(row) = result.next().await? {
                writeln!(out, "{}", json_row(&columns, row.unwrap()))?;
            }
        }
    }
    out.flush().context("write the rows")
}

/// Splits at semicolons outside of quotes and comments.
fn split_statements(text: &str) -> Vec<&str> {
    let bytes = text.as_bytes();
    let (mut parts, mut start, mut i) = (Vec::new(), 0, 0);
    while i < bytes.len() {
        match bytes[i] {
            quote @ (b'\'' | b'"' | b'`') => i = end_of_quote(bytes, i, quote),
            b'-' if bytes[i..].starts_with(b"-- ") => i = find(bytes, i, b"\n"),
            b'#' => i = find(bytes, i, b"\n"),
            b'/' if bytes[i..].starts_with(b"/*") => i = find(bytes, i + 2, b"*/") + 1,
            b';' => {
                parts.push(&text[start..i]);
                start = i + 1;
            }
            _ => {}
        }
        i += 1;
    }
    parts.push(text.get(start..).unwrap_or(""));
    parts.into_iter().map(str::trim).filter(|p| !p.is_empty()).collect()
}

fn end_of_quote(bytes: &[u8], start: usize, quote: u8) -> usize {
    let mut i = start + 1;
    while i < bytes.len() && bytes[i] != quote {
        i += if bytes[i] == b'\\' && quote != b'`' { 2 } else { 1 };
    }
    i
}

fn find(bytes: &[u8], from: usize, what: &[u8]) -> usize {
    let rest = bytes.get(from..).unwrap_or(&[]);
    rest.windows(what.len()).position(|w| w == what).map_or(bytes.len(), |at| from + at)
}

fn text_of(value: &Value) -> Option<Vec<u8>> {
    match value {
        Value::NULL => None,
        Value::Bytes(bytes) => Some(bytes.clone()),
        other => Some(other.as_sql(true).into_bytes()),
    }
}

fn table(columns: &[Column], rows: &[Row]) -> String {
    let printable = |bytes: Vec<u8>| match String::from_utf8(bytes) {
        Ok(text) => text,
        Err(e) => e.into_bytes().iter().fold("0x".to_owned(), |hex, b| hex + &format!("{b:02X}")),
    };
    let mut lines: Vec<Vec<String>> = vec![columns.iter().map(|c| c.name_str().into_owned()).collect()];
    for row in rows {
        let cell = |i| row.as_ref(i).and_then(text_of).map_or_else(|| "NULL".into(), printable);
        lines.push((0..columns.len()).map(cell).collect());
    }
    let width = |i: usize| lines.iter().map(|l| l[i].width()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns.len()).map(width).collect();
    let rule = format!("+{}+\n", widths.iter().map(|w| "-".repeat(w + 2)).collect::<Vec<_>>().join("+"));
    let mut out = rule.clone();
    for (n, line) in lines.iter().enumerate() {
        let cells = line.iter().zip(&widths).zip(columns).map(|((text, &w), c)| {
            // Columns of the terminal, not characters: wide ones take two, joiners none.
            let room = " ".repeat(w.saturating_sub(text.width()));
            if n > 0 && is_number(c) { format!(" {room}{text} ") } else { format!(" {text}{room} ") }
        });
        out += &format!("|{}|\n", cells.collect::<Vec<_>>().join("|"));
        if n == 0 {
            out += &rule;
        }
    }
    out + &rule + &format!("{} {}\n", rows.len(), if rows.len() == 1 { "row" } else { "rows" })
}

fn is_number(column: &Column) -> bool {
    use ColumnType as T;
    matches!(
        column.column_type(),
        T::MYSQL_TYPE_TINY
            | T::MYSQL_TYPE_SHORT
            | T::MYSQL_TYPE_INT24
            | T::MYSQL_TYPE_LONG
            | T::MYSQL_TYPE_LONGLONG
            | T::MYSQL_TYPE_FLOAT
            | T::MYSQL_TYPE_DOUBLE
            | T::MYSQL_TYPE_NEWDECIMAL
            | T::MYSQL_TYPE_YEAR
    )
}

fn csv_value(value: &Value) -> String {
    text_of(value).map_or_else(String::new, |bytes| if bytes.is_empty() { "\"\"".into() } else { csv(&bytes) })
}

/// RFC 4180: quoted where needed; NULL is empty, the empty string is `""`.
fn csv(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    if text.contains([',', '"', '\n', '\r']) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text.into_owned() }
}

fn json_row(columns: &[Column], row: Vec<Value>) -> serde_json::Value {
    let cell = |(column, value): (&Column, Value)| {
        let json = match text_of(&value) {
            None => serde_json::Value::Null,
            Some(bytes) => json_cell(column, &bytes),
        };
        (column.name_str().into_owned(), json)
    };
    columns.iter().zip(row).map(cell).collect::<serde_json::Map<_, _>>().into()
}

/// Numbers that JSON readers keep exactly are numbers; DECIMAL stays a string, as its digits matter.
fn json_cell(column: &Column, bytes: &[u8]) -> serde_json::Value {
    let text = String::from_utf8_lossy(bytes);
    if is_number(column)
        && column.column_type() != ColumnType::MYSQL_TYPE_NEWDECIMAL
        && let Ok(number) = text.parse::<serde_json::Number>()
    {
        return number.into();
    }
    text.into_owned().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statements_split_outside_of_quotes() {
        assert_eq!(split_statements("a; b;;\n"), ["a", "b"]);
        assert_eq!(split_statements("select ';', `;` /* ; */ -- ;\n; x"), ["select ';', `;` /* ; */ -- ;", "x"]);
        assert_eq!(split_statements(r"select '\';'; y"), [r"select '\';'", "y"]);
        assert_eq!(split_statements("select 'open; z"), ["select 'open; z"]);
        assert_eq!(split_statements("/* open ; z"), ["/* open ; z"]);
    }

    #[test]
    fn tables_line_up_by_what_a_terminal_shows() {
        for (text, room) in [("abc", 3), ("日本語", 6), ("e\u{301}", 1), ("👩‍🚀", 2)] {
            assert_eq!(text.width(), room, "{text}");
        }
    }

    #[test]
    fn csv_keeps_null_and_empty_apart() {
        assert_eq!(csv_value(&Value::NULL), "");
        assert_eq!(csv_value(&Value::Bytes(Vec::new())), "\"\"");
        assert_eq!(csv(b"a\"b"), "\"a\"\"b\"");
    }
}
