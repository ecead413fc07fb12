//! Latches at an etcd that speaks TLS only, asks for certificates and knows users; and what is said without any of these.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tidelake_testkit::{Etcd, EtcdCerts};

use crate::tidelake::{Tidelake, wait_for};

const MINUTE: Duration = Duration::from_secs(60);
const PASSWORD: &str = "the-latches-password";

/// A file of `certs/`: `nameless` is a client without a common name, which a CA signed that is in `etcd-ca.pem` beside the others'.
fn cert(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/e2e/certs").join(name)
}

/// The options but those that are to be left out.
fn latch(etcd: &Etcd, password: &Path, without: &[&str]) -> Tidelake {
    let (ca, cert, key) = (cert("ca.pem"), cert("nameless.pem"), cert("nameless.key"));
    let text = |file: &Path| file.display().to_string();
    let all = [
        ("--latch-backend", format!("{}/lake", etcd.url())),
        ("--etcd-ca", text(&ca)),
        ("--etcd-cert", text(&cert)),
        ("--etcd-key", text(&key)),
        ("--etcd-user", "latch".to_owned()),
        ("--etcd-password-file", text(password)),
    ];
    let given = all.iter().filter(|(option, _)| !without.contains(option));
    let options: Vec<&str> = given.flat_map(|(option, value)| [*option, value.as_str()]).collect();
    Tidelake::part(&["latch"], &options, &["--latch-listen", "--http-listen"])
}

fn leads(latch: &Tidelake) -> bool {
    latch.status()["leads"] == true
}

#[test]
fn latches_log_in_at_etcd() {
    let etcd = Etcd::start_encrypted(EtcdCerts {
        ca: cert("etcd-ca.pem"),
        cert: cert("server.pem"),
        key: cert("server.key"),
        client: (cert("nameless.pem"), cert("nameless.key")),
    });
    etcd.enable_users("latch", PASSWORD, ("bGFrZS8=", "bGFrZTA="));
    let dir = tempfile::tempdir().expect("a temporary directory");
    let (right, wrong) = (dir.path().join("right"), dir.path().join("wrong"));
    std::fs::write(&right, format!("{PASSWORD}\n")).expect("write");
    std::fs::write(&wrong, "not-the-password\n").expect("write");
    let mut first = latch(&etcd, &right, &[]);
    first.restart();
    wait_for("the first to lead", MINUTE, || leads(&first).then_some(()));
    // The password of the other is in its environment.
    let mut second = latch(&etcd, &right, &["--etcd-password-file"]);
    second.set_variable("TIDELAKE_ETCD_PASSWORD", PASSWORD);
    second.restart();
    std::thread::sleep(Duration::from_secs(2));
    assert!(leads(&first) && !leads(&second), "{}", second.printed());
    first.kill9();
    wait_for("the second to lead", MINUTE, || leads(&second).then_some(()));
    assert_eq!(second.status()["term"], 2);
    for latch in [&first, &second] {
        assert!(!latch.printed().contains(PASSWORD), "{}", latch.printed());
    }
    assert!(!second.status().to_string().contains(PASSWORD));
    for (mut latch, told) in [
        (latch(&etcd, &wrong, &[]), "the user or its password is wrong"),
        (latch(&etcd, &right, &["--etcd-user", "--etcd-password-file"]), "give --etcd-user"),
        (latch(&etcd, &right, &["--etcd-user"]), "give --etcd-user too"),
        (latch(&etcd, &right, &["--etcd-password-file"]), "TIDELAKE_ETCD_PASSWORD"),
        (latch(&etcd, &right, &["--etcd-key"]), "--etcd-cert and --etcd-key belong together"),
    ] {
        latch.spawn();
        let ended = latch.wait_end();
        let printed = latch.printed();
        assert!(
            !ended.success() && printed.contains(told) && !printed.contains("not-the-password"),
            "{told}:\n{printed}"
        );
    }
    // Waiting may mend these: what is in the way is said meanwhile.
    for (without, told) in [(&["--etcd-cert", "--etcd-key"][..], "ertificate"), (&["--etcd-ca"], "ertificate")] {
        let mut latch = latch(&etcd, &right, without);
        latch.restart();
        wait_for("a word", MINUTE, || latch.printed().contains(told).then_some(()));
        assert!(!leads(&latch));
    }
}
