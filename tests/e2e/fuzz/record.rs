//! What a proper client sends, as it comes from its socket.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

/// A relay that keeps what clients send, one conversation for each connection.
pub struct Recorder {
    port: u16,
    sent: Arc<Mutex<Vec<Vec<u8>>>>,
}

impl Recorder {
    /// Before a listener on this machine. It stays until the test's process ends.
    pub fn before(port: u16) -> Recorder {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let own = listener.local_addr().expect("a bound port").port();
        let sent: Arc<Mutex<Vec<Vec<u8>>>> = Arc::default();
        let kept = sent.clone();
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let server = TcpStream::connect(("127.0.0.1", port)).expect("the server listens");
                let place = {
                    let mut all = kept.lock().expect("no relay panics");
                    all.push(Vec::new());
                    all.len() - 1
                };
                let kept = kept.clone();
                let keep = move |bytes: &[u8]| kept.lock().expect("no relay panics")[place].extend_from_slice(bytes);
                let (from, to) = (client.try_clone().expect("a socket"), server.try_clone().expect("a socket"));
                thread::spawn(move || pump(from, to, keep));
                thread::spawn(move || pump(server, client, |_| {}));
            }
        });
        Recorder { port: own, sent }
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// What was sent so far; connections without a byte are left out.
    pub fn conversations(&self) -> Vec<Vec<u8>> {
        let all = self.sent.lock().expect("no relay panics");
        all.iter().filter(|sent| !sent.is_empty()).cloned().collect()
    }
}

fn pump(mut from: TcpStream, mut to: TcpStream, keep: impl Fn(&[u8])) {
    let mut bytes = vec![0; 64 << 10];
    while let Ok(read @ 1..) = from.read(&mut bytes) {
        keep(&bytes[..read]);
        if to.write_all(&bytes[..read]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Both);
}
