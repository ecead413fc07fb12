//! The store: an order's total is the sum of its items. And its ledger: many rows whose deltas sum up to nothing, so that a
//! long copy is checked row by row against the transactions that ran meanwhile.

use rand::Rng;
use rand::rngs::StdRng;

use crate::load::Workload;

/// Rows of the ledger.
pub const LEDGER: u64 = 40_000;

/// Databases, tables and first rows.
pub fn setup() -> String {
    format!(
        "CREATE DATABASE store; USE store;
         CREATE TABLE orders (id BIGINT UNSIGNED NOT NULL PRIMARY KEY, customer VARCHAR(40) NOT NULL,
           status ENUM('open', 'paid', 'gone') NOT NULL DEFAULT 'open', total DECIMAL(12,2) NOT NULL DEFAULT 0);
         CREATE TABLE items (order_id BIGINT UNSIGNED NOT NULL, line_no SMALLINT NOT NULL, sku VARCHAR(20) NOT NULL,
           quantity INT NOT NULL, price DECIMAL(10,2) NOT NULL, PRIMARY KEY (order_id, line_no));
         CREATE TABLE ledger (id BIGINT UNSIGNED NOT NULL PRIMARY KEY, delta INT NOT NULL, note CHAR(24) NOT NULL);
         INSERT INTO orders (id, customer) SELECT seq, CONCAT('Zoë ', seq MOD 97) FROM seq_1_to_2000;
         INSERT INTO items SELECT o.seq, l.seq, CONCAT('sku-', o.seq MOD 50), 1 + o.seq MOD 3, 9.99 + l.seq
           FROM seq_1_to_2000 o JOIN seq_1_to_3 l;
         UPDATE orders SET total = (SELECT SUM(quantity * price) FROM items WHERE order_id = orders.id);
         INSERT INTO ledger SELECT seq, 0, 'from the beginning' FROM seq_1_to_{LEDGER};"
    )
}

/// One row: orders that differ from their items, items without an order, the sum of the ledger. All must be 0.
pub const AUDIT: &str = "SELECT o.wrong, i.lost, l.rest FROM \
    (SELECT COUNT(*) AS wrong FROM store.orders o LEFT JOIN \
      (SELECT order_id, SUM(quantity * price) AS amount FROM store.items GROUP BY order_id) i ON i.order_id = o.id \
      WHERE o.total <> COALESCE(i.amount, 0)) o CROSS JOIN \
    (SELECT COUNT(*) AS lost FROM store.items i LEFT JOIN store.orders o ON o.id = i.order_id WHERE o.id IS NULL) i CROSS JOIN \
    (SELECT SUM(delta) AS rest FROM store.ledger) l";

/// What is wrong with the answer to [`AUDIT`].
pub fn judge(answer: &str) -> Result<(), String> {
    match answer.trim_end() {
        "0\t0\t0" => Ok(()),
        other => Err(format!("half a transaction is visible: wrong totals, lost items, ledger sum = {other:?}")),
    }
}

/// A clerk with a number of its own.
pub struct Clerk {
    number: u64,
    next: u64,
}

impl Clerk {
    pub fn new(number: u64) -> Clerk {
        Clerk { number, next: 1 }
    }

    fn order(&mut self, rng: &mut StdRng) -> Vec<String> {
        let id = 1_000_000 * self.number + self.next;
        self.next += 1;
        let lines: Vec<String> = (1..=rng.random_range(1..=8))
            .map(|line| {
                format!(
                    "({id}, {line}, 'sku-{}', {}, {}.99)",
                    line * 3,
                    rng.random_range(1..5),
                    rng.random_range(1..200)
                )
            })
            .collect();
        vec![
            format!("INSERT INTO store.orders (id, customer) VALUES ({id}, 'clerk {}')", self.number),
            format!("INSERT INTO store.items VALUES {}", lines.join(", ")),
            total(id),
        ]
    }

    /// An order that may exist: of the first rows or of this clerk.
    fn some_order(&self, rng: &mut StdRng) -> u64 {
        if rng.random_bool(0.5) || self.next == 1 {
            return rng.random_range(1..=2000);
        }
        1_000_000 * self.number + rng.random_range(1..self.next)
    }
}

impl Workload for Clerk {
    fn transaction(&mut self, rng: &mut StdRng) -> Vec<String> {
        match rng.random_range(0..10) {
            0..=2 => self.order(rng),
            3 | 4 => {
                let id = self.some_order(rng);
                vec![format!("UPDATE store.items SET quantity = quantity + 1 WHERE order_id = {id} LIMIT 2"), total(id)]
            }
            5 => {
                let id = self.some_order(rng);
                vec![format!("DELETE FROM store.items WHERE order_id = {id} LIMIT 1"), total(id)]
            }
            6 => {
                let id = self.some_order(rng);
                vec![
                    format!("DELETE FROM store.items WHERE order_id = {id}"),
                    format!("DELETE FROM store.orders WHERE id = {id}"),
                ]
            }
            _ => ledger(rng),
        }
    }
}

fn total(id: u64) -> String {
    format!(
        "UPDATE store.orders SET status = 'paid', total = \
         (SELECT COALESCE(SUM(quantity * price), 0) FROM store.items WHERE order_id = {id}) WHERE id = {id}"
    )
}

/// Takes from a row what it gives to another, far away; sometimes rows come and go in pairs.
fn ledger(rng: &mut StdRng) -> Vec<String> {
    let (a, b) = (rng.random_range(1..=LEDGER), rng.random_range(1..=LEDGER));
    let amount = rng.random_range(1..1000);
    let upsert = |id: u64, delta: i64| {
        format!(
            "INSERT INTO store.ledger VALUES ({id}, {delta}, 'moved') \
             ON DUPLICATE KEY UPDATE delta = delta + {delta}, note = 'moved'"
        )
    };
    let mut statements = vec![upsert(a, amount), upsert(b, -amount)];
    if rng.random_bool(0.3) {
        // What a deleted row had goes to the other one; both may be the same row.
        statements = vec![
            format!("SET @gone = (SELECT COALESCE(SUM(delta), 0) FROM store.ledger WHERE id = {a} FOR UPDATE)"),
            format!("DELETE FROM store.ledger WHERE id = {a}"),
            format!(
                "INSERT INTO store.ledger VALUES ({b}, @gone, 'heir') ON DUPLICATE KEY UPDATE delta = delta + @gone"
            ),
        ];
    }
    statements
}
