//! Every port of every process gets bytes that no honest client sends: recorded conversations with bits flipped, pieces cut, repeated and taken
//! from others, lengths enlarged, by fixed seeds. After them a proper client is served as before, nothing has panicked, no process has
//! ended, and none has taken memory for what it was only told of. `TIDELAKE_FUZZ_CASES` is how many each port gets.

mod messages;
mod mutate;
mod record;

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use futures::TryStreamExt;
use mysql_async::prelude::Queryable;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tidelake_api::{Connection, FleetStore, LatchLine, RemoteLatch};
use tidelake_core::ports::{Freshness, Latch, ScanRequest, StoreEngine};

use crate::tidelake::{Tidelake, wait_for};
use mutate::mutate;
use record::Recorder;

/// What the processes may take more than before.
const MOST_MEMORY: u64 = 400 << 20;
const MINUTE: Duration = Duration::from_secs(60);
/// At the same time, for each port.
const CLIENTS: usize = 4;
/// How long a server is listened to after everything was sent: some wait for more, and would for minutes.
const LISTENS: Duration = Duration::from_millis(40);

pub fn cases() -> usize {
    std::env::var("TIDELAKE_FUZZ_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(150)
}

/// All kinds of processes, with the recorded shop in them.
pub struct Rig {
    pub latch: Tidelake,
    pub engine: Tidelake,
    pub writer: Tidelake,
    pub query: Tidelake,
    before: Vec<u64>,
}

impl Rig {
    pub fn start() -> Rig {
        let mut latch = Tidelake::part(&["latch"], &[], &["--latch-listen", "--http-listen"]);
        latch.keep_data();
        latch.restart();
        let at = format!("127.0.0.1:{}", latch.ports().latch);
        let mut engine = Tidelake::part(&["engine", "--latch", &at], &[], &["--magic-listen", "--http-listen"]);
        engine.keep_data();
        engine.restart();
        let magic = format!("127.0.0.1:{}", engine.ports().magic);
        let source = concat!("file:", env!("CARGO_MANIFEST_DIR"), "/demo/binlog");
        let places = ["--latch", &at, "--engine", &magic];
        let mut writer = Tidelake::part(&["writer", "--source", source], &places, &["--http-listen"]);
        writer.keep_data();
        writer.restart();
        let listeners = ["--mysql-listen", "--http-listen", "--flight-listen"];
        let mut query = Tidelake::part(&["query"], &places, &listeners);
        query.restart();
        let mut rig = Rig { latch, engine, writer, query, before: Vec::new() };
        wait_for("the shop", 3 * MINUTE, || {
            let status = rig.writer.status();
            let (head, published) = (&status["seq"]["head"], &status["seq"]["published"]);
            (status["source"]["state"] == "finished" && head == published).then_some(())
        });
        rig.before = rig.all().map(|process| process.peak_memory()).collect();
        rig
    }

    fn all(&self) -> impl Iterator<Item = &Tidelake> {
        [&self.latch, &self.engine, &self.writer, &self.query].into_iter()
    }

    pub fn magic_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.engine.ports().magic)
    }

    pub fn latch_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.latch.ports().latch)
    }

    /// Every process serves proper clients as if nothing had been.
    pub fn is_well(&mut self) {
        let count = self.query.client().batch_text("SELECT COUNT(*) FROM information_schema.tables");
        assert!(!count.is_empty());
        read_over(&self.latch_url(), &self.magic_url());
        for (process, before) in
            [&mut self.latch, &mut self.engine, &mut self.writer, &mut self.query].into_iter().zip(&self.before)
        {
            assert_eq!(process.get("/healthz").0, 200, "{}", process.printed());
            assert_eq!(process.get("/metrics").0, 200);
            let printed = process.printed();
            // Arrow panics on some bytes that are no rows; that is caught, and an error for the client.
            let own = |line: &&str| line.contains("panicked at") && !line.contains("/arrow-");
            let panic = printed.lines().find(own);
            assert_eq!(panic, None, "{printed}");
            let peak = process.peak_memory();
            assert!(peak < before + MOST_MEMORY, "{peak} bytes at the most, {before} before");
        }
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime")
}

/// A reader as a query process is one: a lease of the latch, and every table from the engine.
fn read_over(latch: &str, magic: &str) {
    runtime().block_on(async {
        let line = LatchLine::to(Connection::open(latch).expect("an address"));
        let fleet = FleetStore::new(&[Connection::open(magic).expect("an address")], line.clone()).expect("one engine");
        let lease = RemoteLatch::at(line).acquire(Freshness::Any, MINUTE, MINUTE).await.expect("a lease");
        let catalog = fleet.catalog(lease.seq()).expect("a catalog");
        let mut tables = 0;
        for table in catalog.tables.keys().take(2) {
            let plan = fleet.plan_scan(&ScanRequest::new(&lease, *table)).await.expect("a plan");
            for split in &plan.splits {
                let rows: Vec<_> = fleet.read_split(split).await.expect("rows").try_collect().await.expect("all rows");
                tables += rows.len();
            }
        }
        assert!(tables > 0, "the shop has rows");
    });
}

/// Statements, prepared ones and odd commands of a proper client.
fn speak_mysql(port: u16) {
    runtime().block_on(async {
        let options = mysql_async::OptsBuilder::default().ip_or_hostname("127.0.0.1").tcp_port(port).user(Some("ann"));
        let mut client = mysql_async::Conn::new(options.prefer_socket(false)).await.expect("logged in");
        client.query_drop("SET NAMES utf8mb4").await.expect("a setting");
        let rows: Vec<(i64, String)> = client.query("SELECT 1, 'text' UNION ALL SELECT 2, 'more'").await.expect("rows");
        assert_eq!(rows.len(), 2);
        let sum = "SELECT ? + ?, CONCAT(?, 'x'), ?";
        let _: Vec<mysql_async::Row> =
            client.exec(sum, (7, 2.5, "words of some length", None::<i32>)).await.expect("a prepared statement");
        client.ping().await.expect("a ping");
        client.query_drop("SELECT nonsense FROM nowhere").await.expect_err("no such table");
        client.disconnect().await.expect("a good bye");
    });
}

fn speak_http(port: u16, paths: &[&str]) {
    for path in paths {
        let url = format!("http://127.0.0.1:{port}{path}");
        let agent: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
        agent.get(&url).call().expect("an answer");
    }
    let url = format!("http://127.0.0.1:{port}/api/v1/magic/acquire");
    let agent: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
    let ask = serde_json::json!({"v": 1, "freshness": "any", "ttl_ms": 100, "wait_ms": 10});
    agent.post(&url).send_json(&ask).expect("an answer");
}

/// Sends mutations of what was recorded; how often the server said anything.
fn batter(port: u16, recorded: &[Vec<u8>], seed: u64) -> usize {
    assert!(!recorded.is_empty(), "a client has spoken");
    let (next, answered) = (AtomicUsize::new(0), AtomicUsize::new(0));
    thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(|| {
                loop {
                    let case = next.fetch_add(1, Ordering::Relaxed);
                    if case >= cases() {
                        return;
                    }
                    let mut rng = StdRng::seed_from_u64(seed << 32 | case as u64);
                    let other = &recorded[rng.random_range(0..recorded.len())];
                    let bytes = mutate(&mut rng, &recorded[case % recorded.len()], other);
                    if talk(port, &bytes) > 0 {
                        answered.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    answered.into_inner()
}

/// Sends it all; the number of bytes that came back.
fn talk(port: u16, bytes: &[u8]) -> usize {
    let mut socket = TcpStream::connect(("127.0.0.1", port)).expect("the server listens");
    socket.set_read_timeout(Some(LISTENS)).expect("a socket");
    // The server may have closed it in the middle.
    let _ = socket.write_all(bytes);
    let (mut heard, mut answer) = (0, [0; 16 << 10]);
    while let Ok(read @ 1..) = socket.read(&mut answer) {
        heard += read;
        if heard > 1 << 20 {
            break;
        }
    }
    let _ = socket.shutdown(Shutdown::Both);
    heard
}

/// A handshake that asks for TLS where there is none, then something else; bytes before the greeting; a login cut at each byte.
fn odd_logins(recorded: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let ssl_request = [&[32, 0, 0, 1, 0x05, 0xae, 0xff, 0x19, 0, 0, 0, 1, 45][..], &[0; 23]].concat();
    let mut odd = vec![ssl_request.clone(), [&ssl_request[..], &[0x16, 3, 1, 2, 0, 1]].concat(), vec![0xff; 70_000]];
    let first = &recorded[0];
    odd.extend((0..first.len().min(160)).step_by(7).map(|end| first[..end].to_vec()));
    odd
}

#[test]
fn every_port_takes_any_bytes() {
    let mut rig = Rig::start();
    let mysql = Recorder::before(rig.query.ports().mysql);
    speak_mysql(mysql.port());
    let recorded = mysql.conversations();
    let port = rig.query.ports().mysql;
    for bytes in odd_logins(&recorded) {
        talk(port, &bytes);
    }
    let answered = batter(port, &recorded, 1);
    assert!(answered > cases() / 2, "the server greets: {answered}");
    rig.is_well();
    let (latch, magic) = (Recorder::before(rig.latch.ports().latch), Recorder::before(rig.engine.ports().magic));
    read_over(&format!("http://127.0.0.1:{}", latch.port()), &format!("http://127.0.0.1:{}", magic.port()));
    batter(rig.latch.ports().latch, &latch.conversations(), 2);
    batter(rig.engine.ports().magic, &magic.conversations(), 3);
    rig.is_well();
    // A Flight SQL port speaks gRPC too; what of it is its own comes in `messages`.
    batter(rig.query.ports().flight, &magic.conversations(), 4);
    rig.is_well();
    let paths = ["/", "/healthz", "/readyz", "/metrics", "/api/v1/status", "/api/v1/tables", "/nothing/here?x=1"];
    for (seed, port) in (5..).zip([&rig.latch, &rig.engine, &rig.writer, &rig.query].map(|p| p.ports().http)) {
        let http = Recorder::before(port);
        speak_http(http.port(), &paths);
        batter(port, &http.conversations(), seed);
    }
    rig.is_well();
}
