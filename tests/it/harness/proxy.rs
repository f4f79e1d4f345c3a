//! A network that fails: a TCP proxy on loopback before one broker. Clients reach the broker through it because the broker
//! advertises the proxy's port.
//!
//! It shows what a client sees of a broken network between two programs, not what the kernel's own timers make of lost
//! packets: bytes are swallowed or held back here, never lost and sent again.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// How soon a connection notices another mode.
const TICK: Duration = Duration::from_millis(50);
/// Bytes in a [`TICK`] at 1 KB/s.
const SLOW: usize = 51;

/// What the network does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    Pass,
    /// Takes everything and delivers nothing.
    Blackhole,
    /// Connections are open, and nobody reads.
    HalfOpen,
    /// 1 KB/s in each direction.
    Slow,
    /// Every connection is reset.
    Reset,
    /// Requests arrive, answers don't.
    NoAnswers,
    /// Answers arrive, requests don't.
    NoRequests,
}

/// A proxy; it ends when it is dropped.
pub struct Proxy {
    port: u16,
    line: Arc<Line>,
}

struct Line {
    target: u16,
    mode: Mutex<Mode>,
    over: AtomicBool,
}

impl Proxy {
    /// Before what listens on a port of this machine.
    pub fn to(target: u16) -> Proxy {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let line = Arc::new(Line { target, mode: Mutex::new(Mode::Pass), over: AtomicBool::new(false) });
        let accepting = line.clone();
        thread::spawn(move || {
            for client in listener.incoming() {
                if accepting.over.load(Ordering::Relaxed) {
                    break;
                }
                accepting.connect(client.unwrap());
            }
        });
        Proxy { port, line }
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn set(&self, mode: Mode) {
        *self.line.mode.lock().unwrap() = mode;
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.line.over.store(true, Ordering::Relaxed);
        // Wakes the thread that accepts.
        let _ = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port));
    }
}

impl Line {
    /// Nobody behind it is a connection that closes at once.
    fn connect(self: &Arc<Line>, client: TcpStream) {
        let Ok(server) = TcpStream::connect((Ipv4Addr::LOCALHOST, self.target)) else { return };
        let (client, server) = (Arc::new(client), Arc::new(server));
        for stream in [&client, &server] {
            stream.set_read_timeout(Some(TICK)).unwrap();
            stream.set_nodelay(true).unwrap();
        }
        for (from, to, answers) in [(client.clone(), server.clone(), false), (server, client, true)] {
            let line = self.clone();
            thread::spawn(move || {
                line.pump(&from, &to, answers);
                // Wakes the other direction, which drops the other half of what there is.
                for stream in [&from, &to] {
                    let _ = stream.shutdown(Shutdown::Both);
                }
            });
        }
    }

    fn pump(&self, mut from: &TcpStream, mut to: &TcpStream, answers: bool) {
        let mut buffer = [0; 1 << 14];
        let mut swallowed = false;
        while !self.over.load(Ordering::Relaxed) {
            let mode = *self.mode.lock().unwrap();
            let swallows = match mode {
                Mode::Blackhole => true,
                Mode::NoAnswers => answers,
                Mode::NoRequests => !answers,
                _ => false,
            };
            // A connection that lost bytes can't go on.
            if mode == Mode::Reset || (swallowed && !swallows) {
                return reset([from, to]);
            }
            if mode == Mode::HalfOpen {
                thread::sleep(TICK);
                continue;
            }
            let size = if mode == Mode::Slow { SLOW } else { buffer.len() };
            match from.read(&mut buffer[..size]) {
                Ok(0) => return,
                Ok(_) if swallows => swallowed = true,
                Ok(read) => {
                    if mode == Mode::Slow {
                        thread::sleep(TICK);
                    }
                    if to.write_all(&buffer[..read]).is_err() {
                        return;
                    }
                }
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
                Err(_) => return,
            }
        }
    }
}

/// RST instead of FIN.
fn reset(streams: [&TcpStream; 2]) {
    for stream in streams {
        let _ = rustix::net::sockopt::set_socket_linger(stream, Some(Duration::ZERO));
    }
}
