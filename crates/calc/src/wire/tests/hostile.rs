//! Bytes no honest client sends: an error or a closed connection, never a panic, never memory without bound.

use std::time::Duration;

use mysql_async::prelude::Queryable;
use proptest::prelude::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::super::WireOptions;
use super::super::constants::{capability, command};
use super::{Running, start};

/// A client that speaks in raw packets.
struct Raw(TcpStream);

impl Raw {
    async fn connect(running: &Running) -> Raw {
        let mut raw = Raw(TcpStream::connect(running.server.local_addr()).await.unwrap());
        let greeting = raw.receive().await.unwrap().1;
        assert_eq!(greeting[0], 10);
        raw
    }

    /// Logs in without DEPRECATE_EOF or plugins, as clients of MySQL 5.1 do.
    async fn log_in(running: &Running) -> Raw {
        let mut raw = Raw::connect(running).await;
        let mut login = (capability::PROTOCOL_41 | capability::SECURE_CONNECTION).to_le_bytes().to_vec();
        login.extend_from_slice(&[0; 28]);
        login.extend_from_slice(b"ann\0\0");
        raw.send(1, &login).await;
        assert_eq!(raw.receive().await.unwrap().1[0], 0);
        raw
    }

    async fn send(&mut self, sequence: u8, payload: &[u8]) {
        let mut packet = (payload.len() as u32).to_le_bytes();
        packet[3] = sequence;
        self.0.write_all(&packet).await.unwrap();
        self.0.write_all(payload).await.unwrap();
    }

    /// The next packet's sequence and payload; `None` if the server has closed the connection.
    async fn receive(&mut self) -> Option<(u8, Vec<u8>)> {
        let read = async {
            let header = self.0.read_u32_le().await.ok()?;
            let mut payload = vec![0; (header & 0xff_ffff) as usize];
            self.0.read_exact(&mut payload).await.ok()?;
            Some(((header >> 24) as u8, payload))
        };
        tokio::time::timeout(Duration::from_secs(10), read).await.expect("the server answers or closes")
    }

    async fn error(&mut self, sequence: u8, payload: &[u8]) -> u16 {
        self.send(sequence, payload).await;
        let (_, answer) = self.receive().await.unwrap();
        assert_eq!(answer[0], 0xff, "{answer:?}");
        u16::from_le_bytes([answer[1], answer[2]])
    }
}

#[tokio::test]
async fn old_clients_get_results_with_eof_packets() {
    let running = start(WireOptions::default()).await;
    let mut raw = Raw::log_in(&running).await;
    raw.send(0, b"\x03SELECT empty").await;
    let mut kinds = Vec::new();
    for _ in 0..4 {
        let (sequence, payload) = raw.receive().await.unwrap();
        kinds.push((sequence, payload[0], payload.len()));
    }
    assert_eq!(kinds[0], (1, 1, 1));
    assert_eq!((kinds[2], kinds[3]), ((3, 0xfe, 5), (4, 0xfe, 5)));
}

#[tokio::test]
async fn odd_commands_are_refused_and_the_connection_goes_on() {
    let running = start(WireOptions::default()).await;
    let mut raw = Raw::log_in(&running).await;
    assert_eq!(raw.error(0, &[99]).await, 1047);
    assert_eq!(raw.error(0, &[]).await, 1835);
    assert_eq!(raw.error(0, b"\x03\xff").await, 1300);
    assert_eq!(raw.error(0, &[command::PROCESS_KILL, 1, 0, 0, 0]).await, 1235);
    assert_eq!(raw.error(0, &[command::SET_OPTION, 7, 0]).await, 1047);
    assert_eq!(raw.error(0, &[command::STMT_EXECUTE, 9, 0, 0, 0, 0, 1, 0, 0, 0]).await, 1243);
    assert_eq!(raw.error(0, &[command::STMT_EXECUTE, 9]).await, 1835);
    assert_eq!(raw.error(0, &[command::STMT_RESET, 9, 0, 0, 0]).await, 1243);
    assert_eq!(raw.error(0, b"\x02nowhere").await, 1049);
    // Neither has an answer.
    raw.send(0, &[command::STMT_CLOSE, 9, 0, 0, 0]).await;
    raw.send(0, &[command::STMT_SEND_LONG_DATA, 9, 0, 0, 0, 0, 0, 1]).await;
    raw.send(0, &[command::SET_OPTION, 1, 0]).await;
    assert_eq!(raw.receive().await.unwrap().1[0], 0xfe);
    raw.send(0, &[command::STATISTICS]).await;
    assert!(raw.receive().await.unwrap().1.starts_with(b"Uptime: "));
    raw.send(0, &[command::PING]).await;
    assert_eq!(raw.receive().await.unwrap().1[0], 0);
    raw.send(0, &[command::QUIT]).await;
    assert!(raw.receive().await.is_none());
}

#[tokio::test]
async fn a_tables_fields_can_be_listed() {
    let running = start(WireOptions::default()).await;
    let mut raw = Raw::log_in(&running).await;
    raw.send(0, b"\x04t`1\0%").await;
    let mut definitions = 0;
    loop {
        let (_, payload) = raw.receive().await.unwrap();
        if payload[0] == 0xfe && payload.len() < 9 {
            break;
        }
        assert!(payload.starts_with(b"\x03def"));
        definitions += 1;
    }
    assert_eq!(definitions, super::values::all_types_batch().num_columns());
}

#[tokio::test]
async fn data_sent_ahead_is_bounded() {
    let running = start(WireOptions { max_allowed_packet: 1 << 20, ..WireOptions::default() }).await;
    let mut raw = Raw::log_in(&running).await;
    raw.send(0, b"\x16ECHO ?").await;
    for _ in 0..3 {
        raw.receive().await.unwrap();
    }
    let mut piece = vec![command::STMT_SEND_LONG_DATA, 1, 0, 0, 0, 0, 0];
    piece.resize(700_000, b'l');
    raw.send(0, &piece).await;
    raw.send(0, &piece).await;
    let execute = [command::STMT_EXECUTE, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 252, 0];
    assert_eq!(raw.error(0, &execute).await, 1153);
    raw.send(0, &piece).await;
    raw.send(0, &execute).await;
    assert_eq!(raw.receive().await.unwrap().1, [1], "one column");
}

#[tokio::test]
async fn prepared_statements_are_bounded() {
    let running = start(WireOptions { max_prepared_statements: 2, ..WireOptions::default() }).await;
    let mut raw = Raw::log_in(&running).await;
    for _ in 0..2 {
        raw.send(0, b"\x16SELECT 1").await;
        assert_eq!(raw.receive().await.unwrap().1[0], 0);
    }
    assert_eq!(raw.error(0, b"\x16SELECT 1").await, 1461);
    raw.send(0, &[command::STMT_CLOSE, 1, 0, 0, 0]).await;
    raw.send(0, b"\x16SELECT 1").await;
    assert_eq!(raw.receive().await.unwrap().1[0], 0);
}

#[tokio::test]
async fn packets_out_of_order_end_the_connection() {
    let running = start(WireOptions::default()).await;
    let mut raw = Raw::log_in(&running).await;
    assert_eq!(raw.error(7, &[command::PING]).await, 1156);
    assert!(raw.receive().await.is_none());
}

#[tokio::test]
async fn big_logins_and_tls_without_certificate_are_refused() {
    let running = start(WireOptions::default()).await;
    let mut raw = Raw::connect(&running).await;
    raw.0.write_all(&[0xff, 0xff, 0xff, 1]).await.unwrap();
    let (_, answer) = raw.receive().await.unwrap();
    assert_eq!(answer[..3], [0xff, 0x81, 0x04]);
    let mut raw = Raw::connect(&running).await;
    let mut request = (capability::PROTOCOL_41 | capability::SSL).to_le_bytes().to_vec();
    request.resize(32, 0);
    assert_eq!(raw.error(1, &request).await, 1043);
}

#[tokio::test]
async fn a_silent_client_is_cut_off() {
    let options = WireOptions { connect_timeout: Duration::from_millis(100), ..WireOptions::default() };
    let running = start(options).await;
    let mut raw = Raw::connect(&running).await;
    assert!(raw.receive().await.is_none());
}

fn garbage() -> impl Strategy<Value = Vec<(u8, Vec<u8>)>> {
    proptest::collection::vec((0u8..34, proptest::collection::vec(any::<u8>(), 0..40)), 1..20)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Any commands with any bytes, then any bytes at all: afterwards the server still serves.
    #[test]
    fn garbage_hurts_nobody_else(commands in garbage(), tail: Vec<u8>) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let running = start(WireOptions::default()).await;
            let mut raw = Raw::log_in(&running).await;
            for (command, body) in commands {
                let mut packet = vec![command];
                packet.extend_from_slice(&body);
                let mut bytes = (packet.len() as u32).to_le_bytes().to_vec();
                bytes.extend_from_slice(&packet);
                if raw.0.write_all(&bytes).await.is_err() {
                    break;
                }
            }
            let _ = raw.0.write_all(&tail).await;
            drop(raw);
            let mut login = TcpStream::connect(running.server.local_addr()).await.unwrap();
            let _ = login.write_all(&tail).await;
            drop(login);
            running.connect().await.ping().await.unwrap();
            running.cancel.cancel();
            running.server.finished().await.expect("no connection panicked");
        });
    }
}
