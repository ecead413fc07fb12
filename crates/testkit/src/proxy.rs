//! A network that can be cut: a TCP relay between a client and a server on this machine.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};

/// Relays 127.0.0.1:`port()` to a server's port. Its threads end with the connections and the proxy.
#[derive(Debug)]
pub struct TcpProxy {
    port: u16,
    line: Arc<Mutex<Line>>,
}

#[derive(Debug)]
struct Line {
    target: u16,
    cut: bool,
    closed: bool,
    sockets: Vec<TcpStream>,
}

impl TcpProxy {
    /// Starts relaying to 127.0.0.1:`target`.
    ///
    /// # Panics
    /// If no port is free.
    #[must_use]
    pub fn start(target: u16) -> TcpProxy {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
        let port = listener.local_addr().expect("a bound socket has an address").port();
        let line = Arc::new(Mutex::new(Line { target, cut: false, closed: false, sockets: Vec::new() }));
        let shared = Arc::clone(&line);
        std::thread::spawn(move || accept(&listener, &shared));
        TcpProxy { port, line }
    }

    /// Where clients connect.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Breaks every connection and refuses new ones until [`heal`](Self::heal).
    pub fn cut(&self) {
        let mut line = lock(&self.line);
        line.cut = true;
        line.hang_up();
    }

    /// Breaks every connection once; new ones are let through.
    pub fn reset(&self) {
        lock(&self.line).hang_up();
    }

    /// New connections lead to another port; those that are open stay.
    pub fn lead_to(&self, target: u16) {
        lock(&self.line).target = target;
    }

    /// Lets connections through again.
    pub fn heal(&self) {
        lock(&self.line).cut = false;
    }
}

impl Drop for TcpProxy {
    fn drop(&mut self) {
        {
            let mut line = lock(&self.line);
            line.closed = true;
            line.hang_up();
        }
        // Wakes the accepting thread; if nobody accepts any more it has ended already.
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}

impl Line {
    fn hang_up(&mut self) {
        for socket in self.sockets.drain(..) {
            // A socket that is closed already is as wanted.
            let _ = socket.shutdown(Shutdown::Both);
        }
    }
}

fn lock(line: &Mutex<Line>) -> std::sync::MutexGuard<'_, Line> {
    line.lock().unwrap_or_else(PoisonError::into_inner)
}

fn accept(listener: &TcpListener, line: &Arc<Mutex<Line>>) {
    for client in listener.incoming().flatten() {
        let mut state = lock(line);
        if state.closed {
            return;
        }
        if state.cut {
            continue;
        }
        let Ok(server) = TcpStream::connect(SocketAddr::from(([127, 0, 0, 1], state.target))) else { continue };
        // A connection that cannot be cloned is dropped: the client sees a broken line.
        let _ = join(client, server, &mut state);
    }
}

fn join(client: TcpStream, server: TcpStream, state: &mut Line) -> std::io::Result<()> {
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    state.sockets.extend([client.try_clone()?, server.try_clone()?]);
    let (from_client, from_server) = (client.try_clone()?, server.try_clone()?);
    std::thread::spawn(move || relay(from_client, server));
    std::thread::spawn(move || relay(from_server, client));
    Ok(())
}

fn relay(mut from: TcpStream, mut to: TcpStream) {
    let mut bytes = vec![0; 64 << 10];
    while let Ok(count @ 1..) = from.read(&mut bytes) {
        if to.write_all(&bytes[..count]).is_err() {
            break;
        }
    }
    // Either side may be gone already.
    let _ = from.shutdown(Shutdown::Both);
    let _ = to.shutdown(Shutdown::Both);
}
