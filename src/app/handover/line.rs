//! The line between the process that hands over and the one that takes over: short texts, some of which bring a socket. It is the new
//! process' standard input, so that nobody else can be at its other end.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
};

/// The longest text.
const LONGEST: usize = 1_024;

/// One end.
#[derive(Debug)]
pub(super) struct Line(OwnedFd);

impl Line {
    /// A new one, and its other end.
    pub(super) fn pair() -> io::Result<(Self, OwnedFd)> {
        let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
            .map_err(io::Error::from)?;
        Ok((Self(ours), theirs))
    }

    /// The end that was given to this process.
    pub(super) fn given() -> io::Result<Self> {
        let ours = io::stdin().as_fd().try_clone_to_owned()?;
        // Whoever reads standard input from now on finds nothing, and the line is over once this end is dropped.
        rustix::stdio::dup2_stdin(std::fs::File::open("/dev/null")?).map_err(io::Error::from)?;
        Ok(Self(ours))
    }

    /// Says something, and hands a socket over with it.
    pub(super) fn say(&self, text: &str, socket: Option<BorrowedFd<'_>>) -> io::Result<()> {
        let sockets: &[BorrowedFd<'_>] = socket.as_slice();
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut with = SendAncillaryBuffer::new(&mut space);
        if !sockets.is_empty() && !with.push(SendAncillaryMessage::ScmRights(sockets)) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        loop {
            match sendmsg(&self.0, &[IoSlice::new(text.as_bytes())], &mut with, SendFlags::NOSIGNAL) {
                Err(rustix::io::Errno::INTR) => {}
                result => return result.map(drop).map_err(io::Error::from),
            }
        }
    }

    /// Waits so long for what the other end says. `UnexpectedEof`: it is gone.
    pub(super) fn hear(&self, patience: Duration) -> io::Result<(String, Option<OwnedFd>)> {
        set_socket_timeout(&self.0, Timeout::Recv, Some(patience)).map_err(io::Error::from)?;
        let mut text = [0; LONGEST];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut with = RecvAncillaryBuffer::new(&mut space);
        let got = loop {
            let mut pieces = [IoSliceMut::new(&mut text)];
            match recvmsg(&self.0, &mut pieces, &mut with, RecvFlags::CMSG_CLOEXEC) {
                Ok(got) => break got,
                // The other end is gone and has not read everything. That is told once, before what it has said.
                Err(rustix::io::Errno::INTR | rustix::io::Errno::CONNRESET) => {}
                Err(rustix::io::Errno::AGAIN) => return Err(io::ErrorKind::TimedOut.into()),
                Err(error) => return Err(error.into()),
            }
        };
        if got.bytes == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let socket = with.drain().find_map(|message| match message {
            RecvAncillaryMessage::ScmRights(mut sockets) => sockets.next(),
            _ => None,
        });
        let text = text.get(..got.bytes).unwrap_or_default();
        Ok((String::from_utf8_lossy(text).into_owned(), socket))
    }
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;
    use std::os::fd::AsFd as _;
    use std::time::Duration;

    use super::Line;

    #[test]
    fn texts_come_one_by_one_and_a_socket_is_the_same() {
        let (ours, theirs) = Line::pair().unwrap();
        let theirs = Line(theirs);
        let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        ours.say("socket a", Some(socket.as_fd())).unwrap();
        ours.say("all", None).unwrap();
        let (text, given) = theirs.hear(Duration::from_secs(1)).unwrap();
        let given = std::net::TcpListener::from(given.unwrap());
        assert_eq!((text.as_str(), given.local_addr().unwrap()), ("socket a", socket.local_addr().unwrap()));
        let (text, none) = theirs.hear(Duration::from_secs(1)).unwrap();
        assert_eq!((text.as_str(), none.is_none()), ("all", true));
        assert_eq!(theirs.hear(Duration::from_millis(10)).unwrap_err().kind(), ErrorKind::TimedOut);
        theirs.say("never read", None).unwrap();
        ours.say("end", None).unwrap();
        drop(ours);
        assert_eq!(theirs.hear(Duration::from_secs(1)).unwrap().0, "end", "what was said before is heard");
        assert_eq!(theirs.hear(Duration::from_secs(1)).unwrap_err().kind(), ErrorKind::UnexpectedEof);
        assert!(theirs.say("x", None).is_err(), "and no signal ends the process");
    }
}
