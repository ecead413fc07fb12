//! Servers that replicate from each other, by GTID.

use crate::mariadb::MariaDb;

impl MariaDb {
    /// Begins to replicate from `source` behind what this server has. Start it with a server id of its own, and
    /// `--log-slave-updates`.
    ///
    /// # Panics
    /// If the server refuses.
    pub fn replicate_from(&self, source: &MariaDb) {
        let port = source.port();
        self.execute(&if self.kind().is_mysql() {
            format!(
                "CHANGE REPLICATION SOURCE TO SOURCE_HOST = '127.0.0.1', SOURCE_PORT = {port}, SOURCE_USER = 'root', \
                 SOURCE_PASSWORD = '', SOURCE_AUTO_POSITION = 1, GET_SOURCE_PUBLIC_KEY = 1; START REPLICA"
            )
        } else {
            format!(
                "CHANGE MASTER TO MASTER_HOST = '127.0.0.1', MASTER_PORT = {port}, MASTER_USER = 'root', MASTER_PASSWORD = '', \
                 MASTER_SSL = 0, MASTER_SSL_VERIFY_SERVER_CERT = 0, MASTER_USE_GTID = slave_pos; START SLAVE"
            )
        });
    }

    /// Pauses replication, or goes on with it.
    ///
    /// # Panics
    /// If the server refuses.
    pub fn replicate(&self, on: bool) {
        let word = if self.kind().is_mysql() { "REPLICA" } else { "SLAVE" };
        self.execute(&format!("{} {word}", if on { "START" } else { "STOP" }));
    }

    /// Waits until it has everything that `source` has.
    ///
    /// # Panics
    /// If that takes longer than a minute, with the state of replication.
    pub fn wait_replicated(&self, source: &MariaDb) {
        let (ask, state) = if self.kind().is_mysql() {
            ("SELECT REPLACE(@@GLOBAL.gtid_executed, '\\n', '')", "SHOW REPLICA STATUS")
        } else {
            ("SELECT @@GLOBAL.gtid_binlog_pos", "SHOW ALL SLAVES STATUS")
        };
        let wanted = source.batch_text(ask);
        let wanted = String::from_utf8_lossy(&wanted).trim().to_owned();
        let wait = if self.kind().is_mysql() {
            format!("SELECT WAIT_FOR_EXECUTED_GTID_SET('{wanted}', 60)")
        } else {
            format!("SELECT MASTER_GTID_WAIT('{wanted}', 60)")
        };
        let waited = self.batch_text(&wait);
        let state = || String::from_utf8_lossy(&self.batch_text(state)).into_owned();
        assert_eq!(String::from_utf8_lossy(&waited).trim(), "0", "not there: {wanted}\n{}", state());
    }

    /// Ends replication for good: this server stands on its own.
    ///
    /// # Panics
    /// If the server refuses.
    pub fn promote(&self) {
        let word = if self.kind().is_mysql() { "REPLICA" } else { "SLAVE" };
        self.execute(&format!("STOP {word}; RESET {word} ALL"));
    }
}
