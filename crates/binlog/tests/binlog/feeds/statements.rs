//! The DDL of a random history, in the words of TiCDC.

use std::collections::BTreeMap;

use rand::Rng;
use rand::seq::IndexedRandom;
use tidelake_core::{CellValue, TableName};

use super::history::{Commit, Kind, Maker, Table};

/// A table's name with its database.
fn quoted(name: &TableName) -> String {
    format!("`{}`.`{}`", name.database, name.table)
}

impl Maker {
    /// One statement or several; false: there was nothing that it could be about.
    pub(super) fn statement(&mut self) -> bool {
        let live = self.tables.iter().filter(|t| !self.stopped.contains(&t.name)).count();
        match self.rng.random_range(0..16) {
            0 | 1 if self.tables.len() < 6 => self.create(["shop", "depot"][self.names as usize % 2]),
            2 => self.alter(false),
            3 => self.alter(true),
            4 => self.rename(),
            5 => self.rename_several(),
            6 => self.move_elsewhere(),
            7 if self.rng.random() => self.truncate(),
            8 if self.tables.len() > 2 => self.drop(),
            9 => self.keep_rows(),
            10 if live > 2 => self.lose_rows(),
            11 if !self.dropped.is_empty() => self.bring_back(),
            12 | 13 => self.make_again(),
            14 if self.rng.random_ratio(1, 3) => self.drop_database(),
            15 if self.tables.len() < 6 => self.create_like(),
            _ => return false,
        }
        !self.tables.is_empty()
    }

    fn any(&mut self) -> usize {
        if self.tables.is_empty() {
            self.create("shop");
        }
        self.rng.random_range(0..self.tables.len())
    }

    /// Sometimes at the commit-ts of the rows before it: they have the schema before it.
    fn join_rows(&mut self) {
        if self.rng.random_ratio(1, 4)
            && let Some((ts, Commit::Rows(_))) = self.history.commits.last()
        {
            self.ts = *ts;
        }
    }

    fn altered(&mut self, at: usize, sql: String) {
        self.join_rows();
        self.tables[at].version = self.ts;
        let table = self.tables[at].clone();
        self.ddl(sql, &table.name.database.clone(), &table.name.table.clone(), Some(table));
    }

    /// What every row of a table becomes.
    fn each_row(&mut self, name: &TableName, change: impl Fn(&mut super::history::Row)) {
        self.contents.get_mut(name).unwrap().values_mut().for_each(change);
    }

    /// One clause, or a multi-schema change.
    fn alter(&mut self, several: bool) {
        let at = self.any();
        let mut clauses = Vec::new();
        for clause in 0..4 {
            if several || self.rng.random_ratio(1, 3) {
                clauses.extend(match clause {
                    0 => Some(self.add_column(at)),
                    1 => self.rename_column(at),
                    2 => self.drop_column(at),
                    _ => self.widen_column(at),
                });
            }
            if !several && !clauses.is_empty() {
                break;
            }
        }
        if clauses.is_empty() {
            clauses.push(self.add_column(at));
        }
        let sql = format!("ALTER TABLE `{}` {}", self.tables[at].name.table, clauses.join(", "));
        self.altered(at, sql);
    }

    fn add_column(&mut self, at: usize) -> String {
        let table = &mut self.tables[at];
        let name = format!("added{}", table.next_column);
        table.next_column += 1;
        let kind = *[Kind::Int, Kind::VarChar, Kind::Json, Kind::Blob].choose(&mut self.rng).unwrap();
        let (default, value) = match kind {
            Kind::Int => (" DEFAULT 7", CellValue::Int(7)),
            Kind::VarChar => (" DEFAULT _UTF8MB4'x'", CellValue::Str("x".into())),
            _ => ("", CellValue::Null),
        };
        let first = self.rng.random_ratio(1, 3);
        let place = if first { format!(" AFTER `{}`", table.columns[table.keys - 1].0) } else { String::new() };
        let index = if first { table.keys } else { table.columns.len() };
        table.columns.insert(index, (name.clone(), kind));
        let table_name = table.name.clone();
        self.each_row(&table_name, |row| drop(row.insert(name.clone(), value.clone())));
        format!("ADD COLUMN `{name}` {}{default}{place}", kind.sql())
    }

    /// A column that no key has and that this statement has not touched.
    fn untouched(&mut self, at: usize) -> Option<usize> {
        let table = &self.tables[at];
        let newest = format!("added{}", table.next_column - 1);
        let may = |i: &usize| table.columns[*i].0 != newest && !table.columns[*i].0.starts_with("again");
        let found: Vec<usize> = (table.keys..table.columns.len()).filter(may).collect();
        found.choose(&mut self.rng).copied()
    }

    fn drop_column(&mut self, at: usize) -> Option<String> {
        let column = self.untouched(at).filter(|_| self.tables[at].columns.len() > self.tables[at].keys + 1)?;
        let (name, _) = self.tables[at].columns.remove(column);
        let table_name = self.tables[at].name.clone();
        self.each_row(&table_name, |row| drop(row.remove(&name)));
        Some(format!("DROP COLUMN `{name}`"))
    }

    fn rename_column(&mut self, at: usize) -> Option<String> {
        let column = self.untouched(at)?;
        self.names += 1;
        let new = format!("again{}", self.names);
        let old = std::mem::replace(&mut self.tables[at].columns[column].0, new.clone());
        let table_name = self.tables[at].name.clone();
        self.each_row(&table_name, |row| {
            let value = row.remove(&old).unwrap();
            row.insert(new.clone(), value);
        });
        Some(format!("RENAME COLUMN `{old}` TO `{new}`"))
    }

    fn widen_column(&mut self, at: usize) -> Option<String> {
        let column = self.untouched(at)?;
        let (name, kind) = &mut self.tables[at].columns[column];
        let wider = match kind {
            Kind::Int => Kind::BigInt,
            Kind::VarChar => Kind::Text,
            Kind::VarBinary => Kind::Blob,
            _ => return None,
        };
        *kind = wider;
        Some(format!("MODIFY COLUMN `{name}` {}", wider.sql()))
    }

    fn move_to(&mut self, at: usize, new: TableName) -> TableName {
        let old = std::mem::replace(&mut self.tables[at].name, new.clone());
        let rows = self.contents.remove(&old).unwrap();
        self.contents.insert(new.clone(), rows);
        if self.stopped.remove(&old) {
            self.stopped.insert(new);
        }
        old
    }

    fn rename(&mut self) {
        let at = self.any();
        let new = self.new_name(&self.tables[at].name.database.clone(), "renamed");
        let old = self.move_to(at, new.clone());
        let sql = if self.rng.random() {
            format!("RENAME TABLE {} TO {}", quoted(&old), quoted(&new))
        } else {
            format!("ALTER TABLE `{}` RENAME `{}`", old.table, new.table)
        };
        self.altered(at, sql);
    }

    /// Into the other database; TiCDC says only where it went.
    fn move_elsewhere(&mut self) {
        let at = self.any();
        let database = if self.tables[at].name.database == "shop" { "depot" } else { "shop" };
        let new = TableName::new(database, self.tables[at].name.table.clone());
        if self.contents.contains_key(&new) {
            return;
        }
        let old = self.move_to(at, new.clone());
        let unsaid = !self.whole && self.rng.random();
        let from = if unsaid { format!("`{}`", old.table) } else { quoted(&old) };
        self.altered(at, format!("RENAME TABLE {from} TO {}", quoted(&new)));
    }

    /// `RENAME TABLE a TO c, b TO a`.
    fn rename_several(&mut self) {
        let (a, b) = (self.any(), self.any());
        let (old_a, old_b) = (self.tables[a].name.clone(), self.tables[b].name.clone());
        if a == b || old_a.database != old_b.database {
            return;
        }
        self.join_rows();
        let new = self.new_name(&old_a.database, "renamed");
        let pair = |from: &TableName, to: &TableName| format!("{} TO {}", quoted(from), quoted(to));
        let (first, second) = (pair(&old_a, &new), pair(&old_b, &old_a));
        let statements = if self.whole {
            vec![(format!("RENAME TABLE {first}, {second}"), b)]
        } else {
            vec![(format!("RENAME TABLE {first}"), a), (format!("RENAME TABLE {second}"), b)]
        };
        self.move_to(a, new);
        if self.whole {
            self.move_to(b, old_a.clone());
        }
        for (sql, at) in statements {
            if !self.whole && at == b {
                self.move_to(b, old_a.clone());
            }
            self.tables[at].version = self.ts;
            let table = self.tables[at].clone();
            self.ddl_at(sql, &table.name.database.clone(), &table.name.table.clone(), Some(table));
        }
        self.ts += 1;
    }

    fn truncate(&mut self) {
        let at = self.any();
        let name = self.tables[at].name.clone();
        self.contents.get_mut(&name).unwrap().clear();
        self.altered(at, format!("TRUNCATE TABLE `{}`", name.table));
    }

    fn remove(&mut self, at: usize) -> Table {
        let table = self.tables.remove(at);
        let rows = self.contents.remove(&table.name).unwrap();
        self.stopped.remove(&table.name);
        self.dropped.push((table.clone(), rows));
        table
    }

    fn drop(&mut self) {
        let at = self.any();
        let name = self.remove(at).name;
        self.ddl(format!("DROP TABLE {}", quoted(&name)), &name.database, &name.table, None);
    }

    /// The same name, other columns; one that stopped is whole again.
    fn make_again(&mut self) {
        let stopped = self.tables.iter().position(|t| self.stopped.contains(&t.name));
        let at = match stopped {
            Some(at) => at,
            None => self.any(),
        };
        let name = self.remove(at).name;
        self.ddl(format!("DROP TABLE {}", quoted(&name)), &name.database, &name.table, None);
        self.create_named(name);
    }

    fn create_like(&mut self) {
        let at = self.any();
        let model = self.tables[at].clone();
        if self.stopped.contains(&model.name) {
            return;
        }
        let name = self.new_name(&model.name.database, "like");
        let table = Table { name: name.clone(), version: self.ts, ..model.clone() };
        self.contents.insert(name.clone(), BTreeMap::new());
        self.tables.push(table.clone());
        let sql = format!("CREATE TABLE {} LIKE {}", quoted(&name), quoted(&model.name));
        self.ddl(sql, &name.database, &name.table, Some(table));
    }

    fn drop_database(&mut self) {
        while let Some(at) = self.tables.iter().position(|t| t.name.database == "depot") {
            self.remove(at);
        }
        self.ddl("DROP DATABASE `depot`".into(), "depot", "", None);
        self.ddl("CREATE DATABASE `depot` /*!40100 CHARACTER SET utf8mb4 */".into(), "depot", "", None);
        self.create("depot");
    }

    /// Partitions are made, moved and merged: every row stays.
    fn keep_rows(&mut self) {
        let at = self.any();
        let clause = *[
            "ADD PARTITION (PARTITION `p9` VALUES LESS THAN (900))",
            "REORGANIZE PARTITION `p0`,`p1` INTO (PARTITION `q0` VALUES LESS THAN (5),PARTITION `q1` VALUES LESS THAN (MAXVALUE))",
            "REMOVE PARTITIONING",
            "PARTITION BY HASH (`id`) PARTITIONS 4",
            "COALESCE PARTITION 2",
            "ADD INDEX `i` (`id`)",
            "COMMENT = 'x'",
        ]
        .choose(&mut self.rng)
        .unwrap();
        let sql = format!("ALTER TABLE `{}` {clause}", self.tables[at].name.table);
        self.altered(at, sql);
    }

    /// Partitions go or are exchanged: the feed does not send what that did.
    fn lose_rows(&mut self) {
        let at = self.any();
        let name = self.tables[at].name.clone();
        self.stopped.insert(name.clone());
        let sql = match self.rng.random_range(0..3) {
            0 => format!("ALTER TABLE `{}` DROP PARTITION `p0`", name.table),
            1 => format!("ALTER TABLE `{}` TRUNCATE PARTITION `p0`,`p1`", name.table),
            _ => {
                let other = self.any();
                let other = self.tables[other].name.clone();
                self.stopped.insert(other.clone());
                format!("ALTER TABLE {} EXCHANGE PARTITION `p0` WITH TABLE {}", quoted(&name), quoted(&other))
            }
        };
        let rows = self.contents.get_mut(&name).unwrap();
        rows.retain(|key, _| key.len() % 2 == 0);
        self.altered(at, sql);
    }

    /// A dropped table with its rows, which the feed does not send again.
    fn bring_back(&mut self) {
        let (mut table, rows) = self.dropped.pop().unwrap();
        let old = table.name.clone();
        let back = self.new_name(&old.database, "back");
        let same = self.rng.random() && !self.contents.contains_key(&old);
        let (name, sql) = if same {
            (old.clone(), format!("RECOVER TABLE `{}`", old.table))
        } else {
            (back.clone(), format!("FLASHBACK TABLE `{}` TO `{}`", old.table, back.table))
        };
        table.name = name.clone();
        self.contents.insert(name.clone(), rows);
        self.stopped.insert(name);
        self.tables.push(table);
        self.altered(self.tables.len() - 1, sql);
    }
}
