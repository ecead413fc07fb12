//! What a latch must not forget: in a directory, and in etcd.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tidelake_core::{CommitSeq, Error, WriterEpoch};
use tidelake_testkit::{Etcd, EtcdCerts, Signal, TcpProxy};

use crate::backend::{Backend, EtcdBackend, EtcdLogin, EtcdUser, FileBackend};
use crate::book::{Ancestor, Book};
use crate::replica::Epochs;

fn lead(backend: &dyn Backend) -> Book {
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(30) {
        match backend.campaign() {
            Ok(Some(leading)) => return Book::open(leading).expect("a page"),
            Ok(None) | Err(Error::Unavailable(_)) => std::thread::sleep(Duration::from_millis(50)),
            Err(error) => panic!("{error}"),
        }
    }
    panic!("nobody leads");
}

fn epoch(book: &Book) -> u64 {
    let WriterEpoch(epoch) = book.next().expect("granted");
    epoch
}

fn note(book: &Book, seq: u64) -> Result<(), Error> {
    book.change(|page| {
        page.shown = Some(CommitSeq(seq));
        Ok(())
    })
}

/// What holds wherever it is kept.
fn behaves(backend: &dyn Backend) {
    let first = lead(backend);
    assert_eq!((first.page().term, epoch(&first), epoch(&first)), (1, 1, 2));
    note(&first, 7).expect("noted");
    let refused: Result<(), Error> = first.change(|page| {
        page.epoch = 99;
        Err(Error::Invalid("no".into()))
    });
    assert!(matches!(refused, Err(Error::Invalid(_))) && first.page().epoch == 2, "nothing of it is true");
    assert!(backend.campaign().expect("asked").is_none(), "one leads");
    first.resign();
    assert!(matches!(first.check(), Err(Error::Unavailable(_))));
    assert!(matches!(note(&first, 8), Err(Error::Unavailable(_))));
    drop(first);
    let second = lead(backend);
    assert_eq!((second.page().term, second.page().shown), (2, Some(CommitSeq(7))));
    assert_eq!(epoch(&second), 3, "no epoch twice");
}

#[test]
fn inv9_a_directory_keeps_the_page() {
    let dir = tempfile::tempdir().expect("tempdir");
    let backend = FileBackend::new(dir.path());
    behaves(&backend);
    std::fs::write(dir.path().join("page.json"), "{").expect("write");
    let leading = backend.campaign().expect("asked").expect("nobody leads");
    assert!(matches!(Book::open(leading).err(), Some(Error::Corrupt { .. })), "no page is made up");
}

#[test]
fn inv9_etcd_keeps_the_page() {
    let etcd = Etcd::start();
    behaves(&EtcdBackend::parse(&etcd.url(), "one").expect("an address"));
    // Another prefix is another latch.
    let other = EtcdBackend::parse(&format!("{}/other", etcd.url()), "one").expect("an address");
    assert_eq!(lead(&other).page().term, 1);
}

/// Certificates of the tests of the whole.
fn certs(name: &str) -> (std::path::PathBuf, std::path::PathBuf) {
    let dir = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/e2e/certs");
    (dir.join(format!("{name}.pem")), dir.join(format!("{name}.key")))
}

fn login(identity: &str, user: Option<(&str, &str)>) -> EtcdLogin {
    let read = |file| std::fs::read(file).expect("a file of certificates");
    let (cert, key) = certs(identity);
    EtcdLogin {
        ca: Some(read(certs("ca").0)),
        identity: Some((read(cert), read(key))),
        user: user.map(|(name, password)| EtcdUser { name: name.into(), password: password.into() }),
    }
}

#[test]
fn inv9_etcd_with_certificates_and_users_keeps_the_page() {
    let (cert, key) = certs("server");
    let mut etcd = Etcd::start_encrypted(EtcdCerts { ca: certs("etcd-ca").0, cert, key, client: certs("nameless") });
    // `lake/` and what comes behind all that begins so
    etcd.enable_users("latch", "s3cret", ("bGFrZS8=", "bGFrZTA="));
    let at = |login| EtcdBackend::parse_as(&format!("{}/lake", etcd.url()), "one", login).expect("an address");
    let user = Some(("latch", "s3cret"));
    behaves(&at(login("nameless", user)));
    let refused = |login| at(login).campaign().err().expect("refused");
    let wrong = refused(login("nameless", Some(("latch", "wr0ng"))));
    assert!(
        matches!(&wrong, Error::Invalid(why) if why.contains("password is wrong") && !why.contains("wr0ng")),
        "{wrong}"
    );
    let nobody = refused(login("nameless", None));
    assert!(matches!(&nobody, Error::Invalid(why) if why.contains("--etcd-user")), "{nobody}");
    let elsewhere = EtcdBackend::parse_as(&format!("{}/other", etcd.url()), "one", login("nameless", user));
    let elsewhere = elsewhere.expect("an address").campaign().err().expect("refused");
    assert!(matches!(&elsewhere, Error::Invalid(why) if why.contains("role")), "{elsewhere}");
    let stranger = refused(login("stranger", user));
    assert!(stranger.is_transient(), "{stranger}");
    let without = refused(EtcdLogin { identity: None, ..login("nameless", user) });
    assert!(without.is_transient(), "{without}");
    let untrusted =
        EtcdLogin { ca: Some(std::fs::read(certs("other-ca").0).expect("a file")), ..login("nameless", user) };
    let untrusted = refused(untrusted);
    assert!(matches!(&untrusted, Error::Unavailable(why) if why.contains("ertificate")), "{untrusted}");
    let plain = EtcdBackend::parse(&etcd.url(), "one").expect("an address").campaign().err().expect("refused");
    assert!(plain.is_transient(), "{plain}");
    // A server that starts again has forgotten all tokens; the term goes on.
    let book = lead(&at(login("nameless", user)));
    let before = epoch(&book);
    etcd.kill9();
    etcd.go_on();
    let begun = Instant::now();
    while book.check().is_ok() && begun.elapsed() < Duration::from_secs(3) {
        book.keep();
        std::thread::sleep(Duration::from_millis(100));
    }
    assert_eq!(epoch(&book), before + 1);
}

/// A latch that does not know yet that another one leads can note nothing, and knows by its own clock that it may not.
#[test]
fn inv9_a_latch_that_was_away_writes_nothing() {
    let etcd = Etcd::start();
    let relay = TcpProxy::start(etcd.address().rsplit_once(':').expect("a port").1.parse().expect("a port"));
    let away = EtcdBackend::parse(&format!("etcd://127.0.0.1:{}", relay.port()), "away").expect("an address");
    let near = EtcdBackend::parse(&etcd.url(), "near").expect("an address");
    let first = Arc::new(lead(&away));
    note(&first, 7).expect("noted");
    for _ in 0..3 {
        std::thread::sleep(Duration::from_secs(2));
        first.keep();
    }
    assert!(first.check().is_ok(), "prolonged, it leads on");
    relay.cut();
    let begun = Instant::now();
    let second = lead(&near);
    assert!(begun.elapsed() > Duration::from_secs(2), "its time was not over");
    assert!(matches!(first.check(), Err(Error::Unavailable(_))), "by its own clock its time was over before");
    note(&second, 9).expect("noted");
    relay.heal();
    assert!(note(&first, 8).is_err());
    assert_eq!(second.page().shown, Some(CommitSeq(9)));
    drop(second);
}

/// The same when its clock says nothing, because the key was taken from it.
#[test]
fn inv9_whoever_has_the_key_no_more_writes_nothing() {
    let etcd = Etcd::start();
    let backend = EtcdBackend::parse(&etcd.url(), "one").expect("an address");
    let first = backend.campaign().expect("asked").expect("nobody leads");
    first.load().expect("read");
    first.resign();
    let second = lead(&backend);
    assert!(first.until().is_some_and(|until| until > Instant::now()));
    assert!(first.store("{}").is_err());
    assert_eq!(epoch(&second), 1, "the page is as it was");
}

#[test]
fn an_etcd_that_is_away_ends_the_term_in_time() {
    let mut etcd = Etcd::start();
    let backend = EtcdBackend::parse(&etcd.url(), "one").expect("an address");
    let book = lead(&backend);
    assert_eq!(epoch(&book), 1);
    etcd.signal(Signal::Stop);
    let begun = Instant::now();
    assert!(note(&book, 7).is_err(), "nobody knows whether it was written");
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    assert!(book.check().is_err());
    etcd.signal(Signal::Continue);
    drop(book);
    etcd.kill9();
    etcd.go_on();
    let next = lead(&backend);
    assert_eq!(epoch(&next), 2, "no epoch twice, also after etcd was killed");
}

#[test]
fn addresses_of_etcd() {
    for wrong in ["etcd://", "etcd://host", "http://host:1", "etcd://user:secret@host:1", "etcd://host:1,", "etcd://:1"]
    {
        assert!(EtcdBackend::parse(wrong, "x").is_err(), "{wrong}");
    }
    for right in ["etcd://a:1", "etcd://a:1,b:2", "etcd://127.0.0.1:2379/some/prefix"] {
        assert!(EtcdBackend::parse(right, "x").is_ok(), "{right}");
    }
}

#[test]
fn a_takeover_keeps_where_each_buffer_was_left() {
    let mut page = crate::book::Page { shown: Some(CommitSeq(12)), ..crate::book::Page::default() };
    page.take_over("a".into(), None, CommitSeq::ZERO);
    page.take_over("b".into(), Some("a".into()), CommitSeq(9));
    page.take_over("c".into(), Some("b".into()), CommitSeq(7));
    let upto = |lineage: &str, upto: u64| Ancestor { lineage: lineage.into(), upto: CommitSeq(upto) };
    assert_eq!(page.ancestors, [upto("a", 7), upto("b", 7)], "none has more than the one after it");
    assert_eq!((page.lineage.as_deref(), page.shown), (Some("c"), None), "nobody knows what of it was shown");
}
