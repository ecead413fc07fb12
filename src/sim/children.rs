//! A process for each seed: what the standard library and tokio count over a process's life is the same then, whatever ran before.

use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::flaws::Flaw;
use super::{chance, run};

/// Says which seed a child runs, and with which flaw.
const WANTED: &str = "TIDELAKE_SIMULATED";
/// Begins the line with the outcome.
const MARK: &str = "@outcome ";
/// A seed takes less than a second; on a machine that is busy with other things somewhat more.
const LONGEST: Duration = Duration::from_secs(120);
/// Most notes that a failure prints.
const SHOWN: usize = 150;

/// A seed that was run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Run {
    pub seed: u64,
    pub violations: Vec<String>,
    pub trace: (u64, u64),
    pub counts: (u64, u64, u64),
    /// The last notes, if something was violated or one seed was asked for.
    #[serde(default)]
    pub printed: String,
}

/// Runs seeds, each in a process, as many at a time as there are cores. `flaw`: its place among all.
pub fn all(wanted: impl IntoIterator<Item = (u64, Option<usize>)>) -> Vec<Run> {
    let wanted: Vec<_> = wanted.into_iter().collect();
    let (next, runs) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(2, usize::from) {
            scope.spawn(|| {
                while let Some(&(seed, flaw)) = wanted.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let run = child(seed, flaw);
                    runs.lock().expect("no child's thread panics").push(run);
                }
            });
        }
    });
    let mut runs = runs.into_inner().expect("no child's thread panics");
    runs.sort_by_key(|run: &Run| run.seed);
    runs
}

fn child(seed: u64, flaw: Option<usize>) -> Run {
    let binary = std::env::current_exe().expect("this test's binary");
    let mut command = Command::new(binary);
    command.args(["--exact", "sim::children::one_seed", "--ignored", "--nocapture"]);
    // Errors that are tried again are no news, and where they came from costs more than the rest.
    command.env("RUST_BACKTRACE", "0");
    command.env(WANTED, format!("{seed} {}", flaw.map_or_else(String::new, |flaw| flaw.to_string())));
    let output = command.output().expect("a child is started");
    let text = String::from_utf8_lossy(&output.stdout);
    let line = text.lines().find_map(|line| line.split_once(MARK)).map(|(_, outcome)| outcome);
    let printed = || format!("{text}\n{}", String::from_utf8_lossy(&output.stderr));
    line.and_then(|line| serde_json::from_str(line).ok()).unwrap_or_else(|| Run {
        seed,
        violations: vec![format!("the simulation ended: {}", output.status)],
        trace: (0, 0),
        counts: (0, 0, 0),
        printed: printed(),
    })
}

/// What a child does. It is no test by itself.
#[test]
#[ignore = "started by the others, for one seed"]
fn one_seed() {
    let Ok(wanted) = std::env::var(WANTED) else { return };
    let (seed, flaw) = wanted.split_once(' ').expect("a seed and perhaps a flaw");
    let (seed, flaw) = (seed.parse().expect("a seed"), flaw.parse::<usize>().ok().map(|at| Flaw::ALL[at]));
    let shows_all = std::env::var_os("TIDELAKE_SEED").is_some();
    std::thread::spawn(|| {
        std::thread::sleep(LONGEST);
        eprintln!("no end after {LONGEST:?}: something goes on without time");
        std::process::exit(9);
    });
    if shows_all {
        let filter = tracing_subscriber::EnvFilter::new("tidelake=info");
        tracing_subscriber::fmt()
            .without_time()
            .with_ansi(false)
            .with_env_filter(filter)
            .with_writer(std::io::stderr)
            .init();
    }
    let panics: &'static Mutex<Vec<String>> = Box::leak(Box::default());
    std::panic::set_hook(Box::new(|panic| panics.lock().expect("pushing does not panic").push(panic.to_string())));
    let thread = std::thread::Builder::new().name("world".into()).stack_size(16 << 20);
    let world = thread.spawn(move || {
        chance::seed_this_thread(seed);
        run(seed, flaw)
    });
    let outcome = world.expect("a thread").join();
    let _ = std::panic::take_hook();
    let mut violations: Vec<String> =
        panics.lock().expect("pushing does not panic").iter().map(|panic| format!("a panic: {panic}")).collect();
    let (mut trace, mut counts, mut printed) = ((0, 0), (0, 0, 0), String::new());
    if let Ok(outcome) = outcome {
        violations.extend(outcome.violations);
        (trace, counts) = (outcome.trace, outcome.counts);
        let skipped = if shows_all { 0 } else { outcome.lines.len().saturating_sub(SHOWN) };
        if shows_all || !violations.is_empty() {
            printed = outcome.lines[skipped..].join("\n");
        }
    }
    if shows_all {
        eprintln!("{printed}");
    }
    let run = Run { seed, violations, trace, counts, printed };
    println!("\n{MARK}{}", serde_json::to_string(&run).expect("it can be encoded"));
}
