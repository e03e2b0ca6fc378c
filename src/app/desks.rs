//! The sockets of the admin server: bound before anything runs, and served by whoever has the state.

use std::net::{SocketAddr, TcpListener as StdListener};

use tokio::net::TcpListener;

use super::{StartError, bind, local, system};
use crate::admin::Surface;
use crate::config::Admin;

/// Where the admin server listens.
pub(super) struct Desks {
    socket: StdListener,
    /// Where it shows everything.
    pub(super) address: SocketAddr,
    public: Option<StdListener>,
    /// Where it answers anybody, if it does.
    pub(super) public_address: Option<SocketAddr>,
}

impl Desks {
    pub(super) fn bind(admin: &Admin) -> Result<Self, StartError> {
        let socket = bind("the admin server", admin.address.0)?;
        let public = admin.public.map(|public| bind("the admin server (`public`)", public.0)).transpose()?;
        let (address, public_address) = (local(&socket)?, public.as_ref().map(local).transpose()?);
        Ok(Self { socket, address, public, public_address })
    }

    /// What it listens on.
    pub(super) fn addresses(&self) -> impl Iterator<Item = SocketAddr> {
        [self.address].into_iter().chain(self.public_address)
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
        Ok(Self { socket, address: self.address, public, public_address: self.public_address })
    }
}
