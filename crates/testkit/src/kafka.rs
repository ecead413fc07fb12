//! A real Kafka broker: one node in KRaft mode, on free ports, with an empty data directory. It has two listeners: one for anybody, and one with
//! TLS for those with a password.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::kind::component;
use crate::mariadb::free_port;
use crate::options::installed;
use crate::process::Process;

const READY_LIMIT: Duration = Duration::from_secs(120);

/// A broker; killed and removed when dropped.
pub struct Kafka {
    /// Ends before its home goes.
    process: Option<Process>,
    home: TempDir,
    port: u16,
    secured_port: u16,
}

impl Kafka {
    /// Who may use the listener with TLS, by PLAIN and by SCRAM.
    pub const USER: &str = "feed";
    /// The password.
    pub const PASSWORD: &str = "s3cret";

    /// An empty broker that answers.
    ///
    /// # Panics
    /// If Kafka is not there (`scripts/servers.sh kafka`) or does not start.
    #[must_use]
    pub fn start() -> Kafka {
        let home = tempfile::Builder::new().prefix("tidelake-kafka-").tempdir().expect("a temporary directory");
        let mut kafka = Kafka { process: None, home, port: free_port(), secured_port: free_port() };
        let control = free_port();
        let keys = kafka.home.path().join("keys.p12");
        make_keys(&keys, &kafka.certificate());
        let secured = kafka.secured_port;
        let (port, data) = (kafka.port, kafka.home.path().join("data").display().to_string());
        let mut text = String::new();
        for (name, value) in [
            ("process.roles", "broker,controller".to_owned()),
            ("node.id", "1".into()),
            ("controller.quorum.voters", format!("1@127.0.0.1:{control}")),
            ("controller.listener.names", "CONTROLLER".into()),
            (
                "listeners",
                format!("PLAINTEXT://127.0.0.1:{port},SASL_SSL://127.0.0.1:{secured},CONTROLLER://127.0.0.1:{control}"),
            ),
            ("advertised.listeners", format!("PLAINTEXT://127.0.0.1:{port},SASL_SSL://127.0.0.1:{secured}")),
            ("listener.security.protocol.map", "PLAINTEXT:PLAINTEXT,SASL_SSL:SASL_SSL,CONTROLLER:PLAINTEXT".into()),
            ("sasl.enabled.mechanisms", "PLAIN,SCRAM-SHA-256,SCRAM-SHA-512".into()),
            ("listener.name.sasl_ssl.plain.sasl.jaas.config", plain_users()),
            ("listener.name.sasl_ssl.scram-sha-256.sasl.jaas.config", SCRAM.into()),
            ("listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config", SCRAM.into()),
            ("ssl.keystore.type", "PKCS12".into()),
            ("ssl.keystore.location", keys.display().to_string()),
            ("ssl.keystore.password", KEYS_PASSWORD.into()),
            ("inter.broker.listener.name", "PLAINTEXT".into()),
            ("log.dirs", data),
            ("offsets.topic.replication.factor", "1".into()),
            ("offsets.topic.num.partitions", "1".into()),
            ("transaction.state.log.replication.factor", "1".into()),
            ("transaction.state.log.min.isr", "1".into()),
            ("transaction.state.log.num.partitions", "1".into()),
        ] {
            let _ = writeln!(text, "{name}={value}");
        }
        std::fs::write(kafka.settings(), text).expect("write the broker's settings");
        let mut format = Command::new(installed("java"));
        format.args(["-Xmx128m", "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "-cp", &classes()]);
        format.args(["kafka.tools.StorageTool", "format", "-t", "MkU3OEVBNTcwNTJENDM2Qk", "-c"]).arg(kafka.settings());
        for mechanism in ["SCRAM-SHA-256", "SCRAM-SHA-512"] {
            format.arg("--add-scram").arg(format!("{mechanism}=[name={},password={}]", Kafka::USER, Kafka::PASSWORD));
        }
        let output = format.output().expect("java starts");
        assert!(output.status.success(), "format a Kafka directory: {}", String::from_utf8_lossy(&output.stderr));
        kafka.restart();
        kafka
    }

    /// `127.0.0.1:PORT`; the same over restarts.
    #[must_use]
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// `127.0.0.1:PORT` of the listener with TLS and passwords; the same over restarts.
    #[must_use]
    pub fn secured_address(&self) -> String {
        format!("127.0.0.1:{}", self.secured_port)
    }

    /// Its certificate (PEM), which nobody signed but itself.
    #[must_use]
    pub fn certificate(&self) -> PathBuf {
        self.home.path().join("certificate.pem")
    }

    /// SIGKILL.
    pub fn kill9(&mut self) {
        self.process = None;
    }

    /// Starts it (again) on its data and waits until it listens.
    ///
    /// # Panics
    /// If it ends instead, or does not listen in two minutes.
    pub fn restart(&mut self) {
        self.process = None;
        let settings = self.settings().display().to_string();
        let args = ["-Xmx512m", "-Xms64m", "-XX:+UseSerialGC", "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "-cp"];
        let mut args: Vec<String> = args.into_iter().map(str::to_owned).collect();
        args.extend([classes(), "kafka.Kafka".to_owned(), settings]);
        let mut process = Process::start(&installed("java"), &args, &self.home.path().join("broker.log"));
        let begin = Instant::now();
        while std::net::TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            assert!(process.ended().is_none(), "Kafka ended instead of listening:\n{}", process.printed());
            assert!(begin.elapsed() < READY_LIMIT, "Kafka does not listen:\n{}", process.printed());
            std::thread::sleep(Duration::from_millis(50));
        }
        self.process = Some(process);
    }

    fn settings(&self) -> PathBuf {
        self.home.path().join("server.properties")
    }
}

const KEYS_PASSWORD: &str = "of-the-keys";
const SCRAM: &str = "org.apache.kafka.common.security.scram.ScramLoginModule required;";

fn plain_users() -> String {
    format!(
        "org.apache.kafka.common.security.plain.PlainLoginModule required user_{}=\"{}\";",
        Kafka::USER,
        Kafka::PASSWORD
    )
}

/// A key with its certificate; Java's own tool makes it.
fn make_keys(store: &Path, certificate: &Path) {
    let keytool = |args: &[&str]| {
        let mut command = Command::new(installed("keytool"));
        command.args(args).args(["-alias", "broker", "-storetype", "PKCS12", "-storepass", KEYS_PASSWORD, "-keystore"]);
        let output = command.arg(store).output().expect("keytool starts");
        assert!(output.status.success(), "keytool {args:?}: {}", String::from_utf8_lossy(&output.stdout));
    };
    let place = ["-dname", "CN=localhost", "-ext", "SAN=ip:127.0.0.1,dns:localhost", "-validity", "30"];
    keytool(&[&["-genkeypair", "-keyalg", "EC", "-groupname", "secp256r1"][..], &place[..]].concat());
    let file = certificate.display().to_string();
    keytool(&["-exportcert", "-rfc", "-file", &file]);
}

fn classes() -> String {
    component("kafka").join("libs/*").display().to_string()
}
