//! Sockets: one for each face, all on one address of the machine.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::PoisonError;
use std::time::Duration;

use tokio::net::{TcpListener, TcpSocket};
use tokio::task::JoinSet;

use crate::{Face, Sandbox, reply};

/// After an accept that failed (no file descriptors left, mostly): try again when some may be free.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);

/// Where the faces listen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Addresses {
    /// [`Face::Normal`].
    pub normal: SocketAddr,
    /// [`Face::NoStartTls`].
    pub no_starttls: SocketAddr,
    /// [`Face::TlsBroken`].
    pub tls_broken: SocketAddr,
    /// [`Face::Busy`].
    pub busy: SocketAddr,
    /// [`Face::Dead`]: bound, so that nobody else gets the port, but not listening, so that connections are refused.
    pub dead: SocketAddr,
}

impl Addresses {
    /// Where this face listens.
    pub fn of(&self, face: Face) -> SocketAddr {
        match face {
            Face::Normal => self.normal,
            Face::NoStartTls => self.no_starttls,
            Face::TlsBroken => self.tls_broken,
            Face::Busy => self.busy,
            Face::Dead => self.dead,
        }
    }
}

/// A sandbox that listens; dropping it closes its sockets and all its connections.
#[derive(Debug)]
pub struct Listening {
    sandbox: Sandbox,
    addresses: Addresses,
    /// Aborts what it holds when it goes.
    _accepting: JoinSet<()>,
    /// Held for the port's sake.
    _dead: TcpSocket,
}

impl Listening {
    /// Where it listens.
    pub fn addresses(&self) -> Addresses {
        self.addresses
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        let mut addresses = self.sandbox.0.addresses.write().unwrap_or_else(PoisonError::into_inner);
        if *addresses == Some(self.addresses) {
            *addresses = None;
        }
    }
}

impl Sandbox {
    /// Listens at `main` (port 0 takes a free one), and on free ports of the same address for the other faces.
    /// Routes of this sandbox lead there from then on.
    pub async fn listen(&self, main: SocketAddr) -> io::Result<Listening> {
        let free = SocketAddr::new(main.ip(), 0);
        let dead = if main.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        dead.bind(free)?;
        let mut accepting = JoinSet::new();
        let mut open = async |face: Face, at: SocketAddr| {
            let listener = TcpListener::bind(at).await?;
            let address = reachable(listener.local_addr()?);
            accepting.spawn(self.clone().accept(listener, face));
            io::Result::Ok(address)
        };
        let addresses = Addresses {
            normal: open(Face::Normal, main).await?,
            no_starttls: open(Face::NoStartTls, free).await?,
            tls_broken: open(Face::TlsBroken, free).await?,
            busy: open(Face::Busy, free).await?,
            dead: reachable(dead.local_addr()?),
        };
        *self.0.addresses.write().unwrap_or_else(PoisonError::into_inner) = Some(addresses);
        Ok(Listening { sandbox: self.clone(), addresses, _accepting: accepting, _dead: dead })
    }

    /// Accepts for ever; its connections end with it.
    async fn accept(self, listener: TcpListener, face: Face) {
        let mut connections = JoinSet::new();
        loop {
            match listener.accept().await {
                Ok((stream, _)) => {
                    while connections.try_join_next().is_some() {}
                    let _ = stream.set_nodelay(true);
                    if self.0.seats.available_permits() == 0 {
                        let line = format!("{}\r\n", reply::full(self.0.hostname.as_str()));
                        let _ = stream.try_write(line.as_bytes());
                        continue;
                    }
                    let sandbox = self.clone();
                    connections.spawn(async move { sandbox.serve(stream, face).await });
                }
                Err(error) => {
                    tracing::warn!(%error, "the sandbox could not accept a connection");
                    tokio::time::sleep(ACCEPT_AGAIN).await;
                }
            }
        }
    }
}

/// Nobody connects to `0.0.0.0`: what listens everywhere is reached on loopback.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}
