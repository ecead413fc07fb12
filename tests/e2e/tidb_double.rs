//! What stands in for TiDB's protocol: a real MariaDB behind a relay that changes the statements which only TiDB knows. `tidb_snapshot` becomes
//! MariaDB's own way into the past (`system_versioning_asof`), so a session sees its tables as they were at the TSO, whatever was written
//! since; SHOW CREATE TABLE answers with TiDB's text.

use std::collections::HashMap;
use std::io::{Read, Result, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use tidelake_core::types::temporal::{date_of, split_micros};

/// The TSO of this moment.
pub fn now() -> u64 {
    let ms = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_millis();
    (ms as u64) << 18
}

fn moment(tso: u64) -> String {
    let (day, us) = split_micros((tso >> 18) as i64 * 1000);
    let (year, month, day) = date_of(day);
    let seconds = us / 1_000_000;
    let (h, m, s) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02} {h:02}:{m:02}:{s:02}.{:06}", us % 1_000_000)
}

/// The relay; ends with the process.
pub struct TidbDouble {
    port: u16,
    shared: Arc<Shared>,
}

struct Shared {
    upstream: u16,
    /// TiDB's text of SHOW CREATE TABLE, by the quoted name.
    schemas: HashMap<String, String>,
    snapshots: Mutex<Vec<u64>>,
    /// Rows of data that pass before a session is cut; `None`: no session is.
    cut_after: Mutex<Option<usize>>,
}

impl TidbDouble {
    /// In front of the server at this port.
    pub fn start(upstream: u16, schemas: &[(&str, &str)]) -> TidbDouble {
        let schemas = schemas.iter().map(|(name, sql)| ((*name).to_owned(), (*sql).to_owned())).collect();
        let shared = Shared { upstream, schemas, snapshots: Mutex::default(), cut_after: Mutex::default() };
        let shared = Arc::new(shared);
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
        let port = listener.local_addr().expect("bound").port();
        let accepting = Arc::clone(&shared);
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let shared = Arc::clone(&accepting);
                std::thread::spawn(move || drop(session(client, &shared)));
            }
        });
        TidbDouble { port, shared }
    }

    /// `mysql://tidelake:...@127.0.0.1:PORT`
    pub fn url(&self) -> String {
        format!("mysql://tidelake:tide@127.0.0.1:{}", self.port)
    }

    /// The TSOs that sessions asked for.
    pub fn snapshots(&self) -> Vec<u64> {
        self.shared.snapshots.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Cuts the next session that has sent so many bytes.
    pub fn cut_after(&self, bytes: usize) {
        *self.shared.cut_after.lock().unwrap_or_else(PoisonError::into_inner) = Some(bytes);
    }
}

fn session(client: TcpStream, shared: &Arc<Shared>) -> Result<()> {
    let server = TcpStream::connect(("127.0.0.1", shared.upstream))?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let (mut answers, mut back, of_answers) = (server.try_clone()?, client.try_clone()?, Arc::clone(shared));
    std::thread::spawn(move || {
        let _ = answer(&mut answers, &mut back, &of_answers);
        let _ = (answers.shutdown(Shutdown::Both), back.shutdown(Shutdown::Both));
    });
    let (mut from, mut to) = (client, server);
    let asked = ask(&mut from, &mut to, shared);
    let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
    asked
}

fn answer(from: &mut TcpStream, to: &mut TcpStream, shared: &Shared) -> Result<()> {
    let (mut bytes, mut sent) = (vec![0; 4096], 0);
    loop {
        let read = from.read(&mut bytes)?;
        if read == 0 {
            return Ok(());
        }
        sent += read;
        {
            let mut cut = shared.cut_after.lock().unwrap_or_else(PoisonError::into_inner);
            if cut.is_some_and(|limit| sent > limit) {
                *cut = None;
                return Ok(());
            }
        }
        to.write_all(&bytes[..read])?;
    }
}

fn ask(from: &mut TcpStream, to: &mut TcpStream, shared: &Shared) -> Result<()> {
    let mut snapshot = 0;
    loop {
        let mut packet = vec![0; 4];
        from.read_exact(&mut packet)?;
        let length = usize::from(packet[0]) | usize::from(packet[1]) << 8 | usize::from(packet[2]) << 16;
        packet.resize(4 + length, 0);
        from.read_exact(&mut packet[4..])?;
        // a command, and a query
        if packet[3] == 0 && packet.get(4) == Some(&3) {
            let sql = String::from_utf8_lossy(&packet[5..]).into_owned();
            if let Some(changed) = changed(&sql, &mut snapshot, shared) {
                packet.truncate(5);
                packet.extend(changed.as_bytes());
                let length = (packet.len() - 4).to_le_bytes();
                packet[..3].copy_from_slice(&length[..3]);
            }
        }
        to.write_all(&packet)?;
    }
}

/// What the server gets instead.
fn changed(sql: &str, snapshot: &mut u64, shared: &Shared) -> Option<String> {
    if let Some(value) = sql.strip_prefix("SET SESSION tidb_snapshot = '") {
        *snapshot = value.trim_end_matches('\'').parse().expect("a TSO");
        shared.snapshots.lock().unwrap_or_else(PoisonError::into_inner).push(*snapshot);
        return Some(format!("SET SESSION system_versioning_asof = '{}'", moment(*snapshot)));
    }
    match sql {
        "SELECT @@SESSION.tidb_snapshot" => return Some(format!("SELECT '{snapshot}'")),
        "SELECT @@tidb_current_ts" => return Some(format!("SELECT '{}'", now())),
        _ => {}
    }
    let name = sql.strip_prefix("SHOW CREATE TABLE ")?;
    let text = shared.schemas.get(name).unwrap_or_else(|| panic!("no schema of {name}"));
    Some(format!("SELECT 't', '{}'", text.replace('\\', "\\\\").replace('\'', "''")))
}
