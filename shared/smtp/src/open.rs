//! Opening a connection: TCP, then the opening's decisions carried out, their time bounded.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};

use crate::channel::{Channel, Overheard, Stop, Stream, Wait};
use crate::connection::stage_time;
use crate::dialogue::opening::{Again, Failure, Opening, Parting, Step};
use crate::wire::command;
use crate::{
    ConnectFailure, Connection, Habits, Hello, OpenError, Peer, Session, Timeouts, TlsContext, TlsFacts, tls,
};

/// TCP keepalive's first probe and interval. 60 s: NAT gateways forget a flow that is idle for 350 s, and a peer
/// that scans for minutes before its final reply must not lose us meanwhile.
const KEEPALIVE: Duration = Duration::from_secs(60);

/// Connects to `peer` and brings the dialogue to where MAIL can follow. `deadline` bounds all of it.
pub async fn open(
    peer: &Peer,
    session: &Session,
    tls: &TlsContext,
    timeouts: &Timeouts,
    deadline: Instant,
) -> Result<Connection, OpenError> {
    let (stream, took) = connect(peer, timeouts, deadline).await?;
    let failure = match converse(stream, peer, session, tls, timeouts, deadline).await {
        Ok(connection) => return Ok(connection.connected_in(took)),
        Err(failure) => failure,
    };
    if failure.again == Again::No {
        return Err(failure.error);
    }
    let habits = Habits { hello: Hello::Helo, ..session.habits };
    let session = Session { habits, ..session.clone() };
    let (stream, took) = connect(peer, timeouts, deadline).await?;
    let again = converse(stream, peer, &session, tls, timeouts, deadline).await;
    again.map(|connection| connection.connected_in(took)).map_err(|failure| failure.error)
}

/// The same over a stream that is there already: a pipe to a receiver in this process.
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
    let stream = Stream::Pipe(Box::new(stream));
    converse(stream, peer, session, tls, timeouts, deadline).await.map_err(|failure| failure.error)
}

async fn connect(
    peer: &Peer,
    timeouts: &Timeouts,
    deadline: Instant,
) -> Result<(Stream, Duration), OpenError> {
    let began = Instant::now();
    let unreachable = |error: io::Error| {
        let how = match error.kind() {
            io::ErrorKind::ConnectionRefused => ConnectFailure::Refused,
            io::ErrorKind::TimedOut => ConnectFailure::TimedOut,
            _ => ConnectFailure::Unreachable(error.to_string()),
        };
        OpenError::Connect { how }
    };
    let wait = Wait { at_most: timeouts.connect, deadline };
    let until = wait.until();
    let tcp = match timeout_at(until, TcpStream::connect(peer.addr)).await {
        Ok(connected) => connected.map_err(unreachable)?,
        Err(_) => {
            return Err(match wait.stop(until) {
                Stop::Deadline => OpenError::DeadlinePassed,
                Stop::Lost(_) => OpenError::Connect { how: ConnectFailure::TimedOut },
            });
        }
    };
    tcp.set_nodelay(true).map_err(unreachable)?;
    let keepalive = socket2::TcpKeepalive::new().with_time(KEEPALIVE).with_interval(KEEPALIVE);
    socket2::SockRef::from(&tcp).set_tcp_keepalive(&keepalive).map_err(unreachable)?;
    Ok((Stream::Tcp(tcp), began.elapsed()))
}

async fn converse(
    stream: Stream,
    peer: &Peer,
    session: &Session,
    tls: &TlsContext,
    timeouts: &Timeouts,
    deadline: Instant,
) -> Result<Connection, Failure> {
    let mut channel = Channel::new(stream);
    let mut opening = Opening::new(session);
    let (mut facts, mut handshake_took) = (None, None);
    let mut step = opening.start();
    loop {
        step = match step {
            Step::Await(stage) => {
                let wait = Wait { at_most: stage_time(stage, timeouts), deadline };
                match channel.answer(wait).await {
                    Ok(answer) => opening.replied(&answer, &mut channel.out),
                    Err(Stop::Lost(how)) => opening.lost(how),
                    Err(Stop::Deadline) => failed(OpenError::DeadlinePassed),
                }
            }
            Step::Handshake => {
                let wait = Wait { at_most: timeouts.tls, deadline };
                let began = Instant::now();
                match handshake(&mut channel, peer, session, tls, wait).await {
                    Ok(proven) => {
                        let trust = proven.trust.clone();
                        (facts, handshake_took) = (Some(proven), Some(began.elapsed()));
                        opening.encrypted(trust, &mut channel.out)
                    }
                    Err(error) => failed(error),
                }
            }
            Step::Ready => break,
            Step::Failed(failure) => {
                if failure.parting == Parting::Quit {
                    command::quit(&mut channel.out);
                    channel.part(timeouts.quit).await;
                }
                return Err(failure);
            }
        };
    }
    let mut connection = Connection::opened(peer, timeouts, channel, opening, facts);
    connection.times.handshake = handshake_took;
    Ok(connection)
}

fn failed(error: OpenError) -> Step {
    Step::Failed(Failure { error, parting: Parting::Close, again: Again::No })
}

async fn handshake(
    channel: &mut Channel,
    peer: &Peer,
    session: &Session,
    tls: &TlsContext,
    wait: Wait,
) -> Result<TlsFacts, OpenError> {
    if channel.overhear().await == Overheard::Something {
        return Err(OpenError::Injected);
    }
    let (connector, judge) = tls.connector(session.tls);
    let until = wait.until();
    match timeout_at(until, channel.encrypt(&connector, tls::server_name(peer))).await {
        Ok(Ok(proven)) => Ok(judge.facts(proven)),
        Ok(Err(error)) => Err(OpenError::Handshake { detail: error.to_string() }),
        Err(_) => Err(match wait.stop(until) {
            Stop::Deadline => OpenError::DeadlinePassed,
            Stop::Lost(how) => OpenError::Handshake { detail: how.to_string() },
        }),
    }
}
