//! Readers that never stop: single statements over several tables, again and again, through kills and restarts.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use tidelake_testkit::SqlClient;

use crate::tidelake::Address;
use crate::{bank, store};

/// Errors of a client that lost its server or did not reach it: the process was killed, that is no wrong answer.
const LOST: [&str; 6] = ["ERROR 2002", "ERROR 2003", "ERROR 2006", "ERROR 2013", "ERROR 2026", "ERROR 1053"];
/// Errors before the first copy of a table is whole: unknown database, unknown table.
const NOT_YET: [&str; 2] = ["ERROR 1049", "ERROR 1146"];

/// A reader in the background.
pub struct Auditor {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Result<Seen, String>>,
}

/// How many right answers there were.
#[derive(Clone, Copy, Debug, Default)]
pub struct Seen {
    pub bank: u64,
    pub store: u64,
}

impl Auditor {
    /// Starts reading whatever listens at `address`.
    pub fn start(address: Address) -> Auditor {
        Auditor::start_despite(address, &[])
    }

    /// The same, where no answer with one of these texts in it is no wrong answer either.
    pub fn start_despite(address: Address, refusals: &'static [&'static str]) -> Auditor {
        Auditor::start_over(vec![address], refusals)
    }

    /// The same of several servers in turns: what one has shown, the next must show too.
    pub fn start_over(addresses: Vec<Address>, refusals: &'static [&'static str]) -> Auditor {
        let stop = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&stop);
        Auditor { stop, thread: std::thread::spawn(move || read_until(&told, &addresses, refusals)) }
    }

    /// Panics with the first wrong answer; returns how many right ones there were.
    pub fn finish(self) -> Seen {
        self.stop.store(true, Ordering::Relaxed);
        match self.thread.join().expect("the auditor does not panic") {
            Ok(seen) => seen,
            Err(wrong) => panic!("{wrong}"),
        }
    }

    /// True if it has met a wrong answer.
    pub fn has_failed(&self) -> bool {
        self.thread.is_finished()
    }
}

fn read_until(stop: &AtomicBool, addresses: &[Address], refusals: &[&str]) -> Result<Seen, String> {
    let (mut seen, mut ticks) = (Seen::default(), 0);
    let mut turns = addresses.iter().cycle();
    while !stop.load(Ordering::Relaxed) {
        let address = turns.next().expect("an address");
        let Some(ports) = address.get() else {
            std::thread::sleep(Duration::from_millis(5));
            continue;
        };
        let client = SqlClient::root(ports.mysql);
        if let Some(answer) = ask(&client, bank::AUDIT, seen.bank > 0, refusals)? {
            bank::judge(&answer, &mut ticks)?;
            seen.bank += 1;
        }
        if let Some(answer) = ask(&client, store::AUDIT, seen.store > 0, refusals)? {
            store::judge(&answer)?;
            seen.store += 1;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(seen)
}

/// `None` if there was no answer for a reason that is allowed.
fn ask(client: &SqlClient, sql: &str, was_there: bool, refusals: &[&str]) -> Result<Option<String>, String> {
    let error = match client.try_batch_text(sql) {
        Ok(bytes) => return Ok(Some(String::from_utf8_lossy(&bytes).into_owned())),
        Err(error) => error,
    };
    if LOST.iter().chain(refusals).any(|code| error.contains(code)) {
        return Ok(None);
    }
    if NOT_YET.iter().any(|code| error.contains(code)) || error.contains("still being copied") {
        return if was_there { Err(format!("a table that readers saw is gone: {error}")) } else { Ok(None) };
    }
    Err(format!("{sql}\n{error}"))
}
