//! The bank: money moves between two tables and never gets more or less. Every transfer is written down, and counted by
//! its teller's clock; so one statement over four tables tells whether a snapshot has whole transactions, and clocks
//! that go back tell that readers were shown an older state than before.

use rand::Rng;
use rand::rngs::StdRng;

use crate::load::Workload;

/// Accounts, and as many savings accounts.
const ACCOUNTS: i32 = 200;

/// Databases, tables and first rows.
pub fn setup() -> String {
    format!(
        "CREATE DATABASE bank; USE bank;
         CREATE TABLE accounts (id INT NOT NULL PRIMARY KEY, owner VARCHAR(40) NOT NULL, balance DECIMAL(14,2) NOT NULL,
           version INT UNSIGNED NOT NULL DEFAULT 0);
         CREATE TABLE savings (id INT NOT NULL PRIMARY KEY, balance DECIMAL(14,2) NOT NULL);
         CREATE TABLE transfers (id BIGINT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY, src INT NOT NULL, dst INT NOT NULL,
           amount DECIMAL(14,2) NOT NULL, at TIMESTAMP(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6));
         CREATE TABLE clock (teller INT NOT NULL PRIMARY KEY, ticks BIGINT NOT NULL);
         INSERT INTO accounts (id, owner, balance) SELECT seq, CONCAT('owner № ', seq), 1000 FROM seq_1_to_{ACCOUNTS};
         INSERT INTO savings SELECT seq, 1000 FROM seq_1_to_{ACCOUNTS};
         INSERT INTO clock VALUES (1, 0), (2, 0), (3, 0), (4, 0);"
    )
}

/// One row: all the money, transfers that no clock counted (must be 0), the clocks' sum.
pub const AUDIT: &str = "SELECT a.money + s.money, c.ticks - t.transfers, c.ticks \
    FROM (SELECT SUM(balance) AS money FROM bank.accounts) a \
    CROSS JOIN (SELECT SUM(balance) AS money FROM bank.savings) s \
    CROSS JOIN (SELECT COUNT(*) AS transfers FROM bank.transfers) t \
    CROSS JOIN (SELECT SUM(ticks) AS ticks FROM bank.clock) c";

/// What is wrong with the answer to [`AUDIT`]; `ticks` is the clocks' sum seen before.
pub fn judge(answer: &str, ticks: &mut u64) -> Result<(), String> {
    let cells: Vec<&str> = answer.trim_end().split('\t').collect();
    let [money, uncounted, now] = cells[..] else { return Err(format!("not one row of three cells: {answer:?}")) };
    let now: u64 = now.parse().map_err(|e| format!("the clocks say {now:?}: {e}"))?;
    if money != format!("{}.00", 2 * 1000 * ACCOUNTS) || uncounted != "0" {
        return Err(format!("half a transaction is visible: money {money}, uncounted transfers {uncounted}"));
    }
    if now < *ticks {
        return Err(format!("readers went back in time: {now} ticks after {ticks}"));
    }
    *ticks = now;
    Ok(())
}

/// A teller with a number from 1 to 4.
pub struct Teller(pub i32);

impl Workload for Teller {
    fn transaction(&mut self, rng: &mut StdRng) -> Vec<String> {
        let (a, b) = (rng.random_range(1..=ACCOUNTS), rng.random_range(1..=ACCOUNTS));
        let mut statements = match rng.random_range(0..10) {
            0 => self.swap(a, b),
            1 => reopen(a),
            _ => Vec::new(),
        };
        let cents = rng.random_range(1..50_000);
        let amount = format!("{}.{:02}", cents / 100, cents % 100);
        let to = if rng.random_bool(0.5) { "accounts" } else { "savings" };
        statements.push(format!(
            "UPDATE bank.accounts SET balance = balance - {amount}, version = version + 1 WHERE id = {a}"
        ));
        statements.push(format!("UPDATE bank.{to} SET balance = balance + {amount} WHERE id = {b}"));
        statements.push(format!("INSERT INTO bank.transfers (src, dst, amount) VALUES ({a}, {b}, {amount})"));
        statements.push(format!("UPDATE bank.clock SET ticks = ticks + 1 WHERE teller = {}", self.0));
        statements
    }
}

impl Teller {
    /// Two accounts change their keys, over a third one that nobody sees.
    fn swap(&self, a: i32, b: i32) -> Vec<String> {
        if a == b {
            return Vec::new();
        }
        let free = -self.0;
        let step = |from: i32, to: i32| format!("UPDATE bank.accounts SET id = {to} WHERE id = {from}");
        vec![step(a, free), step(b, a), step(free, b)]
    }
}

/// Delete and insert of one key in one transaction.
fn reopen(a: i32) -> Vec<String> {
    vec![
        format!("SET @kept = (SELECT balance FROM bank.savings WHERE id = {a} FOR UPDATE)"),
        format!("DELETE FROM bank.savings WHERE id = {a}"),
        format!("INSERT INTO bank.savings VALUES ({a}, @kept)"),
    ]
}
