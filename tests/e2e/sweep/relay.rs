//! Between the suite's clients and the upstream: every session goes through here, so every statement is seen before the
//! server gets it, whichever client sends it.

use std::io::{Read, Result, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::guard::{self, Verdict};

/// Called with a statement before which everything is compared.
pub type BeforeChange = dyn Fn(&[u8]) + Send + Sync;

/// Listens on a socket and on a port; ends with the process or when dropped.
pub struct Relay {
    socket: PathBuf,
    port: u16,
    shared: Arc<Shared>,
}

struct Shared {
    upstream_socket: PathBuf,
    upstream_port: u16,
    before: Box<BeforeChange>,
    closed: AtomicBool,
    /// Sessions that hold table locks.
    locking: AtomicUsize,
}

/// A connection of either kind.
trait Link: Read + Write + Send + Sized + 'static {
    fn twin(&self) -> Result<Self>;
    fn hang_up(&self);
}

impl Link for TcpStream {
    fn twin(&self) -> Result<Self> {
        self.try_clone()
    }

    fn hang_up(&self) {
        // Closed already is as wanted.
        let _ = self.shutdown(Shutdown::Both);
    }
}

impl Link for UnixStream {
    fn twin(&self) -> Result<Self> {
        self.try_clone()
    }

    fn hang_up(&self) {
        let _ = self.shutdown(Shutdown::Both);
    }
}

impl Relay {
    /// Relays to a server's socket and port.
    pub fn start(upstream_socket: PathBuf, upstream_port: u16, socket: &Path, before: Box<BeforeChange>) -> Relay {
        let locking = AtomicUsize::new(0);
        let shared =
            Arc::new(Shared { upstream_socket, upstream_port, before, closed: AtomicBool::new(false), locking });
        let tcp = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
        let port = tcp.local_addr().expect("a bound socket has an address").port();
        let unix = UnixListener::bind(socket).unwrap_or_else(|e| panic!("listen on {}: {e}", socket.display()));
        let of_tcp = Arc::clone(&shared);
        std::thread::spawn(move || {
            for client in tcp.incoming().map_while(|c| c.ok().filter(|_| !of_tcp.closed.load(Ordering::Relaxed))) {
                if let Ok(server) = TcpStream::connect(("127.0.0.1", of_tcp.upstream_port)) {
                    // Answers are small and asked for one by one.
                    let _ = (client.set_nodelay(true), server.set_nodelay(true));
                    join(client, server, &of_tcp);
                }
            }
        });
        let of_unix = Arc::clone(&shared);
        std::thread::spawn(move || {
            for client in unix.incoming().map_while(|c| c.ok().filter(|_| !of_unix.closed.load(Ordering::Relaxed))) {
                if let Ok(server) = UnixStream::connect(&of_unix.upstream_socket) {
                    join(client, server, &of_unix);
                }
            }
        });
        Relay { socket: socket.to_owned(), port, shared }
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn socket(&self) -> &Path {
        &self.socket
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.shared.closed.store(true, Ordering::Relaxed);
        // Wakes the accepting threads; if one does not accept any more it has ended already.
        let _ = TcpStream::connect(("127.0.0.1", self.port));
        let _ = UnixStream::connect(&self.socket);
    }
}

fn join<L: Link>(client: L, server: L, shared: &Arc<Shared>) {
    let shared = Arc::clone(shared);
    std::thread::spawn(move || {
        let (Ok(to_client), Ok(mut from_server)) = (client.twin(), server.twin()) else { return };
        let mut answers = to_client;
        let Ok(mut late) = client.twin() else { return };
        std::thread::spawn(move || {
            // However it ends, the other direction ends too.
            let _ = answer(&mut from_server, &mut answers);
            answers.hang_up();
            from_server.hang_up();
        });
        let mut session = Session { shared, holds: false };
        let _ = session.ask(client, &mut late, server);
        session.holds(false);
    });
}

/// Server to client, as it is, but for what the greeting offers: no compression and no TLS, which hide statements.
fn answer(server: &mut impl Read, client: &mut impl Write) -> Result<()> {
    let mut greeting = Vec::new();
    read_packet(server, &mut greeting)?;
    if let Some(end) = greeting.get(5..).and_then(|text| text.iter().position(|b| *b == 0)) {
        // version, its zero, connection id, eight bytes of the challenge, a filler
        let flags = 5 + end + 1 + 4 + 8 + 1;
        if greeting[4] == 10 && greeting.len() > flags + 1 {
            greeting[flags] &= !0x20;
            greeting[flags + 1] &= !0x08;
        }
    }
    client.write_all(&greeting)?;
    std::io::copy(server, client).map(drop)
}

/// One packet with its head.
fn read_packet(from: &mut impl Read, packet: &mut Vec<u8>) -> Result<()> {
    packet.resize(4, 0);
    from.read_exact(packet)?;
    let length = usize::from(packet[0]) | usize::from(packet[1]) << 8 | usize::from(packet[2]) << 16;
    packet.resize(4 + length, 0);
    from.read_exact(&mut packet[4..])
}

const COM_QUERY: u8 = 3;
const COM_SHUTDOWN: u8 = 8;
const COM_STMT_PREPARE: u8 = 22;
/// Of a packet that goes on in the next one.
const FULL: [u8; 3] = [0xff; 3];

struct Session {
    shared: Arc<Shared>,
    holds: bool,
}

impl Session {
    fn holds(&mut self, holds: bool) {
        match (self.holds, holds) {
            (false, true) => drop(self.shared.locking.fetch_add(1, Ordering::SeqCst)),
            (true, false) => drop(self.shared.locking.fetch_sub(1, Ordering::SeqCst)),
            _ => {}
        }
        self.holds = holds;
    }

    /// Client to server. `back` writes to the client: between its commands nobody else does.
    fn ask(&mut self, mut client: impl Link, back: &mut impl Write, mut server: impl Link) -> Result<()> {
        let mut packet = Vec::new();
        loop {
            if let Err(end) = read_packet(&mut client, &mut packet) {
                server.hang_up();
                return Err(end);
            }
            // commands begin with number 0; what is longer than one packet is data
            if packet[3] == 0 && packet.len() > 4 && packet[..3] != FULL && !self.command(&mut packet) {
                back.write_all(&[7, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0])?;
                continue;
            }
            server.write_all(&packet)?;
        }
    }

    /// False if the server shall not get it.
    fn command(&mut self, packet: &mut Vec<u8>) -> bool {
        match packet[4] {
            COM_SHUTDOWN => return false,
            COM_QUERY | COM_STMT_PREPARE => {}
            _ => return true,
        }
        let prepares = packet[4] == COM_STMT_PREPARE;
        match guard::judge(&packet[5..]) {
            Verdict::Keep => return prepares, // an answer to PREPARE is not so easily made
            Verdict::Compare if self.shared.locking.load(Ordering::SeqCst) == 0 => (self.shared.before)(&packet[5..]),
            Verdict::Compare | Verdict::Pass => {}
        }
        if let Some(holds) = guard::locks(&packet[5..]) {
            self.holds(holds);
        }
        if let Some(logged) = guard::logged(&packet[5..]) {
            packet.truncate(5);
            packet.extend(logged);
            let length = (packet.len() - 4).to_le_bytes();
            packet[..3].copy_from_slice(&length[..3]);
        }
        true
    }
}
