//! Which rows of a few buckets differ, and in what.

use std::collections::{BTreeMap, HashSet};

use arrow::array::RecordBatch;
use serde::{Deserialize, Serialize};
use tidelake_core::key::KeyEncoder;
use tidelake_core::types::text::{TextColumn, TextContext};
use tidelake_core::{Result, TableDef};

use super::buckets::{bucket_of, hash};

/// Most differences that are told.
const TOLD: usize = 10;
/// Longest text of a key's cell, characters.
const LONGEST_CELL: usize = 60;

/// A key that differs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Difference {
    /// The key, as `column=value, ...`; a table without a key: the whole row.
    pub key: String,
    /// How.
    pub what: String,
}

/// A row: a checksum for each of its cells.
type Cells = Vec<u64>;

#[derive(Default)]
struct Sides {
    key: String,
    upstream: Vec<Cells>,
    replica: Vec<Cells>,
}

/// Rows of a few buckets, by key.
pub(super) struct Collected {
    def: TableDef,
    keys: KeyEncoder,
    buckets: HashSet<usize>,
    found: BTreeMap<Box<[u8]>, Sides>,
}

impl Collected {
    /// Will collect rows of these buckets.
    ///
    /// # Errors
    /// If a key column has no row form.
    pub fn new(def: &TableDef, buckets: Vec<usize>) -> Result<Collected> {
        let buckets = buckets.into_iter().collect();
        Ok(Collected { def: def.clone(), keys: KeyEncoder::new(def)?, buckets, found: BTreeMap::new() })
    }

    /// Adds rows of the upstream.
    ///
    /// # Errors
    /// If they cannot be printed.
    pub fn add_upstream(&mut self, batch: &RecordBatch) -> Result<()> {
        self.add(batch, |sides| &mut sides.upstream)
    }

    /// Adds rows of the replica.
    ///
    /// # Errors
    /// If they cannot be printed.
    pub fn add_replica(&mut self, batch: &RecordBatch) -> Result<()> {
        self.add(batch, |sides| &mut sides.replica)
    }

    fn add(&mut self, batch: &RecordBatch, side: impl Fn(&mut Sides) -> &mut Vec<Cells>) -> Result<()> {
        let keys = self.keys.encode(batch)?;
        let wanted: Vec<usize> =
            (0..batch.num_rows()).filter(|row| self.buckets.contains(&bucket_of(keys.row(*row).data()))).collect();
        if wanted.is_empty() {
            return Ok(());
        }
        let context = TextContext::default();
        let columns = self.def.columns.iter().zip(batch.columns());
        let texts: Vec<TextColumn> =
            columns.map(|(column, array)| TextColumn::new(Some(&column.ty), array, &context)).collect::<Result<_>>()?;
        for row in wanted {
            let cells = texts.iter().map(|text| cell(text, row)).collect::<Result<Vec<Option<Vec<u8>>>>>()?;
            let sides = self.found.entry(keys.row(row).data().into()).or_default();
            if sides.key.is_empty() {
                sides.key = key_text(&self.def, self.keys.columns(), &cells);
            }
            let sums = cells.iter().map(|cell| cell.as_ref().map_or(0, |text| hash(text) | 1)).collect();
            side(sides).push(sums);
        }
        Ok(())
    }

    /// The first keys that differ, in the order of their stored form.
    pub fn first(&self) -> Vec<Difference> {
        let differing = self.found.values().filter_map(|sides| {
            let what = self.difference(sides)?;
            Some(Difference { key: sides.key.clone(), what })
        });
        differing.take(TOLD).collect()
    }

    fn difference(&self, sides: &Sides) -> Option<String> {
        let (upstream, replica) = (sides.upstream.len(), sides.replica.len());
        match (sides.upstream.as_slice(), sides.replica.as_slice()) {
            ([], _) => Some("only in the replica".to_owned()),
            (_, []) => Some("missing in the replica".to_owned()),
            _ if upstream != replica => Some(format!("{upstream} times upstream, {replica} times in the replica")),
            ([theirs], [ours]) => {
                let columns = self.def.columns.iter().zip(theirs.iter().zip(ours));
                let names: Vec<&str> = columns.filter(|(_, (t, o))| t != o).map(|(c, _)| c.name.as_str()).collect();
                (!names.is_empty()).then(|| format!("other value of {}", names.join(", ")))
            }
            _ => None,
        }
    }
}

/// `None` is NULL.
fn cell(text: &TextColumn, row: usize) -> Result<Option<Vec<u8>>> {
    let mut out = Vec::new();
    Ok(text.write(row, &mut out)?.then_some(out))
}

fn key_text(def: &TableDef, columns: &[usize], cells: &[Option<Vec<u8>>]) -> String {
    let shown = |index: &usize| {
        let value = cells[*index].as_ref().map_or_else(|| "NULL".to_owned(), |text| short(text));
        format!("{}={value}", def.columns[*index].name)
    };
    columns.iter().map(shown).collect::<Vec<_>>().join(", ")
}

fn short(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text);
    match text.char_indices().nth(LONGEST_CELL) {
        Some((end, _)) => format!("{:?}...", &text[..end]),
        None if text.bytes().all(|b| b.is_ascii_graphic()) => text.into_owned(),
        None => format!("{text:?}"),
    }
}

#[cfg(test)]
mod tests {
    use tidelake_core::testing::tables::{Row, accounts, batch, events, int, text};

    use super::super::buckets::Buckets;
    use super::*;

    fn verdict(def: &TableDef, theirs: &[Row], ours: &[Row]) -> Vec<(String, String)> {
        let (mut a, mut b) = (Buckets::new(def).unwrap(), Buckets::new(def).unwrap());
        // in another order and in other batches
        theirs.iter().for_each(|row| a.add(&batch(def, std::slice::from_ref(row))).unwrap());
        b.add(&batch(def, &ours.iter().rev().cloned().collect::<Vec<Row>>())).unwrap();
        let differing = a.differing(&b);
        let mut collected = Collected::new(def, a.few_of(&b, &differing)).unwrap();
        collected.add_upstream(&batch(def, theirs)).unwrap();
        collected.add_replica(&batch(def, ours)).unwrap();
        collected.first().into_iter().map(|d| (d.key, d.what)).collect()
    }

    fn is(key: &str, what: &str) -> (String, String) {
        (key.to_owned(), what.to_owned())
    }

    #[test]
    fn rows_that_differ_are_named_by_their_key() {
        let def = accounts(1, "accounts");
        let row = |id: i64, note: &str| vec![int(id), int(5), text(note)];
        let many: Vec<Row> = (0..500).map(|id| row(id, "x")).collect();
        assert_eq!(verdict(&def, &many, &many), []);
        let mut ours = many.clone();
        ours[7] = row(7, "y");
        ours.remove(100);
        ours.push(row(1000, "z"));
        let found = verdict(&def, &many, &ours);
        let wanted = [
            is("id=7", "other value of note"),
            is("id=100", "missing in the replica"),
            is("id=1000", "only in the replica"),
        ];
        assert_eq!(found, wanted);
    }

    #[test]
    fn rows_without_a_key_are_counted() {
        let def = events(1, "events");
        let row = |n: i64| vec![int(n), text("e")];
        let found = verdict(&def, &[row(1), row(1), row(2)], &[row(2), row(1)]);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].1, "2 times upstream, 1 times in the replica");
    }

    #[test]
    fn only_some_differences_are_told() {
        let def = accounts(1, "accounts");
        let theirs: Vec<Row> = (0..100).map(|id| vec![int(id), int(5), text("x")]).collect();
        assert_eq!(verdict(&def, &theirs, &[]).len(), TOLD);
    }

    #[test]
    fn long_texts_are_cut() {
        assert_eq!(short(b"abc"), "abc");
        assert_eq!(short(b"a b"), "\"a b\"");
        assert!(short(&[b'x'; 100]).len() < 70);
    }
}
