//! What systemd is told (sd_notify), and the sockets that it gives (socket activation).

use std::ffi::OsString;
use std::io;
use std::net::TcpListener;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};

use crate::app::Inherited;

/// All is well, and calls are served.
pub(super) const READY: &str = "READY=1\nSTATUS=calls are served";
/// Where it wants to be told.
const SOCKET: &str = "NOTIFY_SOCKET";

/// Tells it something, where it wants to be told.
pub(super) fn say(what: &str) {
    if let Some(socket) = std::env::var_os(SOCKET)
        && let Err(error) = send(&socket, what)
    {
        tracing::warn!(%error, "what {SOCKET} names cannot be told how things are");
    }
}

/// That a reload begins: the moment is part of it.
pub(super) fn say_reloading() {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    say(&format!("RELOADING=1\nMONOTONIC_USEC={}", now.tv_sec * 1_000_000 + now.tv_nsec / 1_000));
}

fn send(socket: &OsString, what: &str) -> io::Result<()> {
    let address = match socket.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
        path => SocketAddr::from_pathname(std::ffi::OsStr::from_bytes(path))?,
    };
    UnixDatagram::unbound()?.send_to_addr(what.as_bytes(), &address).map(drop)
}

/// Takes the sockets that were opened for this process (`LISTEN_FDS`). Which is for which listener tells its address.
pub(super) fn take_sockets(inherited: &Inherited) {
    let mut given = listenfd::ListenFd::from_env();
    let mut sockets: Vec<TcpListener> = Vec::new();
    for at in 0..given.len() {
        match given.take_tcp_listener(at) {
            Ok(Some(socket)) => {
                // So that no process that is started later has it.
                if let Err(error) = rustix::io::fcntl_setfd(&socket, rustix::io::FdFlags::CLOEXEC) {
                    tracing::warn!(at, %error, "LISTEN_FDS: processes that are started later have this socket too");
                }
                sockets.push(socket);
            }
            Ok(None) => {}
            Err(error) => {
                tracing::warn!(at, %error, "LISTEN_FDS: what was given is no listening TCP socket, and not used")
            }
        }
    }
    inherited.add(sockets);
}
