//! One connection and the transactions on it.

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;

use crate::{
    Capabilities, Habits, OpenError, Peer, Proceed, Report, Session, Timeouts, TlsContext, TlsFacts,
    Transaction,
};

/// An open, greeted, perhaps encrypted and authenticated connection.
#[derive(Debug)]
pub struct Connection {
    peer: Peer,
    capabilities: Capabilities,
    tls: Option<TlsFacts>,
    habits: Habits,
    completed: u32,
    idle_since: Instant,
}

/// Connects to `peer` and brings the dialogue to where MAIL can follow.
pub async fn open(
    peer: &Peer,
    session: &Session,
    tls: &TlsContext,
    timeouts: &Timeouts,
    deadline: Instant,
) -> Result<Connection, OpenError> {
    let _ = (peer, session, tls, timeouts, deadline);
    Err(OpenError::DeadlinePassed)
}

/// The same over a stream that is there already: a pipe to the sandbox, a test's.
pub async fn open_on<S>(
    stream: S,
    peer: &Peer,
    session: &Session,
    tls: &TlsContext,
    timeouts: &Timeouts,
    deadline: Instant,
) -> Result<Connection, OpenError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let _ = (stream, peer, session, tls, timeouts, deadline);
    Err(OpenError::DeadlinePassed)
}

impl Connection {
    /// Whom it leads to.
    pub fn peer(&self) -> &Peer {
        &self.peer
    }

    /// What the peer offers, as of the last EHLO.
    pub fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    /// What TLS gave; `None` in clear.
    pub fn tls(&self) -> Option<&TlsFacts> {
        self.tls.as_ref()
    }

    /// What is worth remembering of this host: the session's habits and what was learned since.
    pub fn habits(&self) -> Habits {
        self.habits
    }

    /// Transactions whose final reply came, whatever it said.
    pub fn completed(&self) -> u32 {
        self.completed
    }

    /// Since when nothing was asked of it.
    pub fn idle_since(&self) -> Instant {
        self.idle_since
    }

    /// Sends one message. `before_dot` is awaited only when the peer is ready for the message (354) and before its first
    /// octet: there the caller marks the dot durably and checks its lease; `std::future::ready(Proceed::Send)` costs nothing.
    pub async fn transact(
        &mut self,
        tx: &Transaction,
        deadline: Instant,
        before_dot: impl Future<Output = Proceed> + Send,
    ) -> Report {
        let _ = (tx, deadline, before_dot);
        Report {
            recipients: Vec::new(),
            connection: crate::After::Closed { last: None },
            dot_at: None,
            round_trips: 0,
        }
    }

    /// Says goodbye without waiting for the answer.
    pub async fn quit(self) {}
}
