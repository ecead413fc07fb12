//! What is done with a statement on its way to the upstream: it is let through, first everything is compared, or it is
//! kept from the server because it would take the rig apart.

use std::sync::LazyLock;

use regex::bytes::Regex;

/// What happens to one statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Goes to the server as it is.
    Pass,
    /// Everything is compared first: it takes tables away or changes them as a whole.
    Compare,
    /// Is answered with OK and never reaches the server.
    Keep,
}

/// Statements that never reach the server, each with the reason.
const KEPT: [(&str, &str); 9] = [
    (r"^(shutdown|restart)\b", "ends the server"),
    (r"^reset\s+master\b", "another binlog history: refused by design, tested elsewhere"),
    (r"^(prepare|create\s+(procedure|function))\b.*\breset\s+master", "the same in disguise"),
    (r"^purge\s", "takes away what is not read yet"),
    (r"^(start|change|reset|stop)\s+(all\s+)?(slave|replica|master)", "makes the upstream a replica of itself"),
    (
        r"^set\b.*(global\s+|@@global\s*\.\s*)`?(binlog_|log_bin|gtid_|server_id|read_only|max_binlog|expire_logs|slave_|replicate_|rpl_|sync_|encrypt_binlog|log_slave)",
        "the upstream's binlog is set as the user guide asks for",
    ),
    (
        r"^set\b.*(global\s+|@@global\s*\.\s*)`?(init_connect|max_connections|connect_timeout|wait_timeout|net_|require_secure|secure_auth|old_passwords|max_password|thread_pool|thread_handling|max_user_connections|max_allowed_packet|max_statement_time|lock_wait_timeout|event_scheduler)",
        "locks the sweep's own connections out, or changes rows at any time",
    ),
    (r"^(drop\s+(database|schema)\s+(if\s+exists\s+)?`?mysql\b)", "the server's own tables"),
    (r"^(set\s+password\s+(for\s+root|=)|drop\s+user\s+.*\broot\b|rename\s+user\s+.*\broot\b)", "locks the sweep out"),
];

/// Statements before which everything is compared.
const COMPARED: &str = r"^(create\s+or\s+replace\s+table\b|truncate\b|rename\s+tables?\b|alter\s+(online\s+|ignore\s+)*(table|database|schema)\b|drop\s+(tables?|database|schema|index)\b|flush\s+tables?\b.*\bexport\b)";

static KEEP: LazyLock<Vec<Regex>> = LazyLock::new(|| KEPT.iter().map(|(text, _)| regex(text)).collect());
static COMPARE: LazyLock<Regex> = LazyLock::new(|| regex(COMPARED));
static BLANK: LazyLock<Regex> = LazyLock::new(|| regex(r"^(\s+|/\*[^!M].*?\*/|#[^\n]*\n|--\s[^\n]*\n|/\*!\d*)+"));
static UNLOGGED: LazyLock<Regex> = LazyLock::new(|| regex(r"(sql_log_bin\s*:?=\s*)(0|off|false|@\w+)"));
static LOCKS: LazyLock<Regex> = LazyLock::new(|| {
    regex(
        r"^(lock\s+tables?\b|flush\s+(local\s+|no_write_to_binlog\s+)?tables?\b.*\bwith\s+read\s+lock|flush\b.*\bfor\s+export|backup\s+(stage|lock))",
    )
});
static UNLOCKS: LazyLock<Regex> =
    LazyLock::new(|| regex(r"^(unlock\s+tables?\b|start\s+transaction|begin\b|backup\s+(unlock|stage\s+end))"));

fn regex(text: &str) -> Regex {
    regex::bytes::RegexBuilder::new(text)
        .case_insensitive(true)
        .dot_matches_new_line(true)
        .unicode(false)
        .build()
        .expect("a pattern written here")
}

/// The statement without what stands before its first word.
fn bare(sql: &[u8]) -> &[u8] {
    BLANK.find(sql).map_or(sql, |blank| &sql[blank.end()..])
}

/// See [`Verdict`].
pub fn judge(sql: &[u8]) -> Verdict {
    let sql = bare(sql);
    if KEEP.iter().any(|kept| kept.is_match(sql)) {
        Verdict::Keep
    } else if COMPARE.is_match(sql) {
        Verdict::Compare
    } else {
        Verdict::Pass
    }
}

/// The statement with every "do not log this" taken out: what is not logged cannot be replicated.
pub fn logged(sql: &[u8]) -> Option<Vec<u8>> {
    UNLOGGED.is_match(sql).then(|| UNLOGGED.replace_all(sql, &b"${1}1"[..]).into_owned())
}

/// `Some(true)` if the session holds locks from here on, `Some(false)` if it lets them go.
pub fn locks(sql: &[u8]) -> Option<bool> {
    let sql = bare(sql);
    if LOCKS.is_match(sql) {
        return Some(true);
    }
    UNLOCKS.is_match(sql).then_some(false)
}

#[test]
fn statements_are_judged_by_their_first_words() {
    for (sql, verdict) in [
        ("DROP TABLE t1", Verdict::Compare),
        ("  /* why */ drop table if exists t1", Verdict::Compare),
        ("DROP /* why */ VIEW v1", Verdict::Pass),
        ("alter ignore table t add key (a)", Verdict::Compare),
        ("create or replace table t (a int)", Verdict::Compare),
        ("create or replace view v as select 1", Verdict::Pass),
        ("# note\nRESET MASTER", Verdict::Keep),
        ("set @@global.binlog_format=statement", Verdict::Keep),
        ("set @a=1, global binlog_row_image=minimal", Verdict::Keep),
        ("set session binlog_format=statement", Verdict::Pass),
        ("insert into t values ('drop table t')", Verdict::Pass),
    ] {
        assert_eq!(judge(sql.as_bytes()), verdict, "{sql}");
    }
    assert_eq!(logged(b"set sql_log_bin=OFF"), Some(b"set sql_log_bin=1".to_vec()));
    assert_eq!(logged(b"set sql_log_bin=1"), None);
    assert_eq!(locks(b"LOCK TABLES t WRITE"), Some(true));
    assert_eq!(locks(b"unlock tables"), Some(false));
    assert_eq!(locks(b"select 1"), None);
}
