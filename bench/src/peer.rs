//! MariaDB's own replica on the same binlog, set for speed: what catching up is compared with.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use tidelake_testkit::{MariaDb, MariaDbOptions};

use crate::history::CHECK;
use crate::subject::processor_seconds;

/// A replica that applies optimistically in parallel and waits for no disk.
fn settings(threads: u32) -> MariaDbOptions {
    MariaDbOptions::default()
        .arg("--server-id=2")
        .arg(format!("--slave-parallel-threads={threads}"))
        .arg("--slave-parallel-mode=optimistic")
        .arg("--innodb-flush-log-at-trx-commit=0")
        .arg("--sync-binlog=0")
        .arg("--sync-relay-log=0")
        .arg("--sync-master-info=0")
        .arg("--sync-relay-log-info=0")
        .arg("--skip-log-slave-updates")
        .arg("--innodb-buffer-pool-size=2G")
        .arg("--innodb-log-file-size=1G")
        .arg("--slave-parallel-max-queued=16M")
}

/// Time until the replica has applied everything in `upstream`'s binlog, from START SLAVE on, and its processor time
/// meanwhile in seconds.
pub fn catch_up(upstream: &MariaDb, threads: u32) -> Result<(Duration, f64)> {
    let text = |server: &MariaDb, sql: &str| String::from_utf8_lossy(&server.batch_text(sql)).trim().to_owned();
    let wanted = text(upstream, "SELECT @@gtid_binlog_pos");
    let replica = MariaDb::start(settings(threads));
    replica.execute(&format!(
        "CHANGE MASTER TO MASTER_HOST = '127.0.0.1', MASTER_PORT = {}, MASTER_USER = 'tidelake', \
         MASTER_PASSWORD = 'tide', MASTER_USE_GTID = slave_pos",
        upstream.port()
    ));
    let (before, begin) = (processor_seconds(replica.pid())?, Instant::now());
    let waited = text(&replica, &format!("START SLAVE; SELECT MASTER_GTID_WAIT('{wanted}', 3600)"));
    let (took, processor) = (begin.elapsed(), processor_seconds(replica.pid())? - before);
    ensure!(waited == "0", "the replica did not reach {wanted}:\n{}", text(&replica, "SHOW SLAVE STATUS\\G"));
    ensure!(text(&replica, CHECK) == text(upstream, CHECK), "the replica's rows differ from the upstream's");
    Ok((took, processor))
}
