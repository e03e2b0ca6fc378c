//! The sockets of the admin server: bound before anything runs, and served by whoever has the state.

use std::net::{SocketAddr, TcpListener as StdListener};
use std::os::fd::{AsFd as _, BorrowedFd};

use tokio::net::TcpListener;

use super::handover::Inherited;
use super::{StartError, bind, local, system};
use crate::admin::Surface;
use crate::config::Admin;

const FULL: &str = "the admin server";
const PUBLIC: &str = "the admin server (`public`)";

/// Where the admin server listens.
pub(super) struct Desks {
    /// The addresses in the file.
    asked: (SocketAddr, Option<SocketAddr>),
    socket: StdListener,
    /// Where it shows everything.
    pub(super) address: SocketAddr,
    public: Option<StdListener>,
    /// Where it answers anybody, if it does.
    pub(super) public_address: Option<SocketAddr>,
}

impl Desks {
    pub(super) fn bind(admin: &Admin, inherited: &Inherited) -> Result<Self, StartError> {
        let socket = bind(FULL, admin.address.0, inherited)?;
        let public = admin.public.map(|public| bind(PUBLIC, public.0, inherited)).transpose()?;
        let (address, public_address) = (local(&socket)?, public.as_ref().map(local).transpose()?);
        let asked = (admin.address.0, admin.public.map(|public| public.0));
        Ok(Self { asked, socket, address, public, public_address })
    }

    /// What it listens on.
    pub(super) fn addresses(&self) -> impl Iterator<Item = SocketAddr> {
        [self.address].into_iter().chain(self.public_address)
    }

    /// Every socket, with who listens there and by which address in the file.
    pub(super) fn sockets(&self) -> impl Iterator<Item = (&'static str, SocketAddr, BorrowedFd<'_>)> {
        let public = self.asked.1.zip(self.public.as_ref()).map(|(asked, socket)| (PUBLIC, asked, socket.as_fd()));
        [(FULL, self.asked.0, self.socket.as_fd())].into_iter().chain(public)
    }

    /// The sockets, each with what is offered there.
    pub(super) fn into_sockets(self) -> Result<Vec<(TcpListener, Surface)>, StartError> {
        let sockets = [(self.socket, Surface::Full)].into_iter().chain(self.public.map(|it| (it, Surface::Public)));
        sockets.map(|(socket, surface)| Ok((TcpListener::from_std(socket).map_err(system)?, surface))).collect()
    }

    /// The same once more, for as long as somebody else is served by them.
    pub(super) fn try_clone(&self) -> Result<Self, StartError> {
        let socket = self.socket.try_clone().map_err(system)?;
        let public = self.public.as_ref().map(StdListener::try_clone).transpose().map_err(system)?;
        Ok(Self { asked: self.asked, socket, address: self.address, public, public_address: self.public_address })
    }
}
