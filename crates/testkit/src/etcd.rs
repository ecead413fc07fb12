//! A real etcd: one member, on free ports of this machine, with an empty data directory; with certificates and users if they are wanted.

use std::net::TcpStream;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use tempfile::TempDir;
use ureq::tls::{Certificate, ClientCert, PrivateKey, RootCerts, TlsConfig};

use crate::mariadb::free_port;
use crate::options::installed;
use crate::process::{Process, Signal};

const READY_LIMIT: Duration = Duration::from_secs(60);

/// A server; gone with all its keys when dropped.
pub struct Etcd {
    process: Option<Process>,
    home: TempDir,
    port: u16,
    peers: u16,
    certs: Option<EtcdCerts>,
}

/// Certificates (PEM files) of a server that speaks TLS only, with clients that one of `ca` has signed.
#[derive(Clone, Debug)]
pub struct EtcdCerts {
    /// Who signs.
    pub ca: PathBuf,
    /// Its own certificate, which it also shows as a client of itself.
    pub cert: PathBuf,
    /// The key of that.
    pub key: PathBuf,
    /// A client's certificate and its key: without a common name, with which its JSON gateway takes none.
    pub client: (PathBuf, PathBuf),
}

impl Etcd {
    /// An empty server that answers.
    ///
    /// # Panics
    /// If etcd is not there (Debian's `etcd-server`) or does not start.
    #[must_use]
    pub fn start() -> Etcd {
        Etcd::start_with(None)
    }

    /// The same with certificates.
    ///
    /// # Panics
    /// As for [`Etcd::start`].
    #[must_use]
    pub fn start_encrypted(certs: EtcdCerts) -> Etcd {
        Etcd::start_with(Some(certs))
    }

    fn start_with(certs: Option<EtcdCerts>) -> Etcd {
        let home = tempfile::Builder::new().prefix("tidelake-etcd-").tempdir().expect("a temporary directory");
        let mut etcd = Etcd { process: None, home, port: free_port(), peers: free_port(), certs };
        etcd.go_on();
        etcd
    }

    /// From now on it knows users: `root`, and this one, which may read and write all keys from `prefix` up to `upto`, both in base64.
    ///
    /// # Panics
    /// If it refuses.
    pub fn enable_users(&self, name: &str, password: &str, (prefix, upto): (&str, &str)) {
        for (what, body) in [
            ("user/add", r#"{"name":"root","password":"of root"}"#.to_owned()),
            ("role/add", r#"{"name":"root"}"#.to_owned()),
            ("user/grant", r#"{"user":"root","role":"root"}"#.to_owned()),
            ("role/add", r#"{"name":"latch"}"#.to_owned()),
            (
                "role/grant",
                format!(
                    r#"{{"name":"latch","perm":{{"permType":"READWRITE","key":"{prefix}","range_end":"{upto}"}}}}"#
                ),
            ),
            ("user/add", format!(r#"{{"name":"{name}","password":"{password}"}}"#)),
            ("user/grant", format!(r#"{{"user":"{name}","role":"latch"}}"#)),
            ("enable", "{}".to_owned()),
        ] {
            let url = format!("{}/v3/auth/{what}", self.http());
            let begin = Instant::now();
            loop {
                let asked = self.agent().post(&url).content_type("application/json").send(&body);
                // It listens before it has a leader.
                match asked {
                    Ok(_) => break,
                    Err(error) => assert!(begin.elapsed() < READY_LIMIT, "etcd: {what}: {error}"),
                }
                std::thread::sleep(Duration::from_millis(50));
            }
        }
    }

    fn http(&self) -> String {
        let scheme = if self.certs.is_some() { "https" } else { "http" };
        format!("{scheme}://{}", self.address())
    }

    fn agent(&self) -> ureq::Agent {
        let mut tls = TlsConfig::builder();
        if let Some(EtcdCerts { ca, client: (cert, key), .. }) = &self.certs {
            let read = |file: &PathBuf| std::fs::read(file).expect("a file of certificates");
            let certificate = |file| Certificate::from_pem(&read(file)).expect("a certificate");
            let key = PrivateKey::from_pem(&read(key)).expect("a key");
            tls = tls.root_certs(RootCerts::new_with_certs(&[certificate(ca)])); // the first one of the file
            tls = tls.client_cert(Some(ClientCert::new_with_certs(&[certificate(cert)], key)));
        }
        let config = ureq::Agent::config_builder().timeout_global(Some(Duration::from_secs(5))).tls_config(tls.build());
        config.build().into()
    }

    /// Starts it on what it has kept.
    ///
    /// # Panics
    /// If it does not start.
    pub fn go_on(&mut self) {
        let (client, peer) = (self.http(), format!("http://127.0.0.1:{}", self.peers));
        let data = self.home.path().join("data").display().to_string();
        let args = [
            ("--data-dir", data.as_str()),
            ("--listen-client-urls", &client),
            ("--advertise-client-urls", &client),
            ("--listen-peer-urls", &peer),
            ("--initial-advertise-peer-urls", &peer),
            ("--initial-cluster", &format!("default={peer}")),
        ];
        let mut args: Vec<String> =
            args.iter().flat_map(|(name, value)| [(*name).to_owned(), (*value).to_owned()]).collect();
        if let Some(EtcdCerts { ca, cert, key, .. }) = &self.certs {
            let files = [("--cert-file", cert), ("--key-file", key), ("--trusted-ca-file", ca)];
            args.extend(files.iter().flat_map(|(name, file)| [(*name).to_owned(), file.display().to_string()]));
            args.push("--client-cert-auth".to_owned());
        }
        let mut process = Process::start(&installed("etcd"), &args, &self.home.path().join("server.log"));
        let begin = Instant::now();
        while TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            assert!(process.ended().is_none(), "etcd ended instead of listening:\n{}", process.printed());
            assert!(begin.elapsed() < READY_LIMIT, "etcd does not listen:\n{}", process.printed());
            std::thread::sleep(Duration::from_millis(20));
        }
        self.process = Some(process);
    }

    /// SIGKILL.
    pub fn kill9(&mut self) {
        self.process = None;
    }

    /// Sends it a signal that it lives on with.
    ///
    /// # Panics
    /// If it does not run.
    pub fn signal(&mut self, signal: Signal) {
        self.process.as_mut().expect("running").signal(signal);
    }

    /// `127.0.0.1:PORT`
    #[must_use]
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// `etcd://127.0.0.1:PORT`
    #[must_use]
    pub fn url(&self) -> String {
        format!("etcd://{}", self.address())
    }
}
