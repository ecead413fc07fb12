//! A server of the S3 protocol (moto): conditional puts, lists page by page, ranges, multipart uploads. It keeps its objects in
//! memory and checks no signatures: any key opens it.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::kind::component;
use crate::mariadb::free_port;
use crate::process::Process;

const READY_LIMIT: Duration = Duration::from_secs(120);

/// An object store; gone with all its objects when dropped.
pub struct S3 {
    process: Process,
    port: u16,
    /// Goes after the process.
    _home: TempDir,
}

impl S3 {
    /// What a client signs with: any will do.
    pub const ACCESS_KEY: &str = "tidelake-test-key";
    /// The secret of it; tests look for it where it must not be.
    pub const SECRET_KEY: &str = "tidelake-test-secret";
    /// The region of its buckets.
    pub const REGION: &str = "us-east-1";

    /// An empty server that answers.
    ///
    /// # Panics
    /// If moto is not there (`scripts/servers.sh s3`) or does not start.
    #[must_use]
    pub fn start() -> S3 {
        let home = tempfile::Builder::new().prefix("tidelake-s3-").tempdir().expect("a temporary directory");
        let port = free_port();
        let program = component("s3").join("venv/bin/moto_server");
        let args = ["-H".to_owned(), "127.0.0.1".to_owned(), "-p".to_owned(), port.to_string()];
        let process = Process::start(&program, &args, &home.path().join("server.log"));
        let mut s3 = S3 { process, port, _home: home };
        let begin = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(s3.process.ended().is_none(), "moto ended instead of listening:\n{}", s3.process.printed());
            assert!(begin.elapsed() < READY_LIMIT, "moto does not listen:\n{}", s3.process.printed());
            std::thread::sleep(Duration::from_millis(50));
        }
        s3
    }

    /// `http://127.0.0.1:PORT`
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Its port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// `127.0.0.1:PORT`, for a proxy in between.
    #[must_use]
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Makes an empty bucket (a name of 3 to 63 lower-case letters and digits).
    ///
    /// # Panics
    /// If the server refuses.
    pub fn create_bucket(&self, name: &str) {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).expect("the server listens");
        let credential = format!("{}/20260101/{}/s3/aws4_request", S3::ACCESS_KEY, S3::REGION);
        let request = format!(
            "PUT /{name} HTTP/1.1\r\nHost: {}\r\nContent-Length: 0\r\nConnection: close\r\n\
             Authorization: AWS4-HMAC-SHA256 Credential={credential}, SignedHeaders=host, Signature=0\r\n\r\n",
            self.address()
        );
        stream.write_all(request.as_bytes()).expect("send a request");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("read the answer");
        assert!(answer.starts_with("HTTP/1.1 200"), "make the bucket {name}: {answer}");
    }

    /// What a client finds its credentials by, as environment variables.
    #[must_use]
    pub fn environment() -> [(&'static str, &'static str); 2] {
        [("AWS_ACCESS_KEY_ID", S3::ACCESS_KEY), ("AWS_SECRET_ACCESS_KEY", S3::SECRET_KEY)]
    }

    /// Requests it has answered, one a line.
    #[must_use]
    pub fn requests(&self) -> String {
        self.process.printed()
    }
}
