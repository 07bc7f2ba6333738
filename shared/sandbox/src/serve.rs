//! The one loop that owns a stream: reads, lets the dialogue answer, writes each group of replies at once.

use std::io;
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::{Instant, timeout, timeout_at};

use crate::dialogue::{Dialogue, Step};
use crate::{Face, Sandbox, reply};

/// Wait for the next command or octets: 5 min (RFC 5321 4.5.3.2.7).
const IDLE: Duration = Duration::from_secs(5 * 60);
/// From DATA to the dot at most; a slow drip must not hold a seat for ever.
const BODY: Duration = Duration::from_secs(60 * 60);
/// A peer that does not read its replies.
const WRITE: Duration = Duration::from_secs(60);
/// The TLS handshake.
const HANDSHAKE: Duration = Duration::from_secs(60);
/// After a last reply: how long, and for how many octets, a peer's further words are taken before the close, since
/// closing on unread octets would reset the connection and the reply would be lost.
const LINGER: Duration = Duration::from_secs(2);
const LINGER_OCTETS_MAX: usize = 1 << 20;
/// Room for one read: three messages of the usual 10 KB, and small beside a thousand connections.
const READ_OCTETS: usize = 32 * 1024;

/// `handshake_failure`, fatal (RFC 8446 6.2), as a receiver answers that shares no cipher.
const HANDSHAKE_FAILURE: &[u8] = &[0x15, 0x03, 0x03, 0x00, 0x02, 0x02, 0x28];

/// Why talking ended.
enum Ended {
    StartTls,
    BreakTls,
    Closing,
    Gone,
}

impl Sandbox {
    /// Serves one connection to its end, over any stream. The banner is 421 when all seats are taken.
    pub async fn serve<S>(&self, mut stream: S, face: Face)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send,
    {
        let Ok(_seat) = self.0.seats.clone().try_acquire_owned() else {
            let line = format!("{}\r\n", reply::full(self.0.hostname.as_str()));
            let _ = timeout(WRITE, stream.write_all(line.as_bytes())).await;
            linger(&mut stream).await;
            return;
        };
        if let Err(error) = self.converse(stream, face).await {
            tracing::debug!(%error, "a connection to the sandbox broke");
        }
    }

    async fn converse<S>(&self, mut stream: S, face: Face) -> io::Result<()>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send,
    {
        let mut dialogue = Dialogue::new(self.0.clone(), face);
        let mut said = Vec::with_capacity(1024);
        let first = dialogue.begin(&mut said);
        match talk(&mut stream, &mut dialogue, first, said).await? {
            Ended::StartTls => {
                let handshake = timeout(HANDSHAKE, self.0.acceptor.accept(stream));
                let mut stream = handshake.await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
                dialogue.secured(version(stream.get_ref().1.protocol_version()));
                let ended = talk(&mut stream, &mut dialogue, Step::Read, Vec::with_capacity(1024)).await?;
                if matches!(ended, Ended::Closing) {
                    linger(&mut stream).await;
                }
            }
            Ended::BreakTls => {
                let mut hello = [0; 512];
                let _ = timeout(HANDSHAKE, stream.read(&mut hello)).await;
                let _ = timeout(WRITE, stream.write_all(HANDSHAKE_FAILURE)).await;
                linger(&mut stream).await;
            }
            Ended::Closing => linger(&mut stream).await,
            Ended::Gone => {}
        }
        Ok(())
    }
}

/// Talks from `step` on until the stream ends, closes or wants TLS.
async fn talk<S>(
    stream: &mut S,
    dialogue: &mut Dialogue,
    mut step: Step,
    mut said: Vec<u8>,
) -> io::Result<Ended>
where
    S: AsyncRead + AsyncWrite + Unpin + Send,
{
    let mut input = BytesMut::with_capacity(READ_OCTETS);
    let (mut idle_until, mut body_until) = (Instant::now() + IDLE, Instant::now() + BODY);
    loop {
        if !said.is_empty() {
            write(stream, &said).await?;
            said.clear();
            body_until = Instant::now() + BODY;
            idle_until = Instant::now() + IDLE;
        } else if dialogue.is_receiving() {
            idle_until = (Instant::now() + IDLE).min(body_until);
        }
        dialogue.hand_over_reports();
        step = match step {
            Step::Read => {
                input.reserve(READ_OCTETS);
                match timeout_at(idle_until, stream.read_buf(&mut input)).await {
                    Ok(Ok(0)) => return Ok(Ended::Gone),
                    Ok(Ok(_)) => dialogue.step(&mut input, &mut said),
                    Ok(Err(error)) => return Err(error),
                    Err(_) => {
                        said.extend_from_slice(format!("{}\r\n", reply::IDLE).as_bytes());
                        Step::Close
                    }
                }
            }
            Step::Wait { wait, reply } => {
                tokio::time::sleep(wait).await;
                said.extend_from_slice(format!("{reply}\r\n").as_bytes());
                dialogue.step(&mut input, &mut said)
            }
            Step::StartTls => return Ok(Ended::StartTls),
            Step::BreakTls => return Ok(Ended::BreakTls),
            Step::Close => return Ok(Ended::Closing),
            Step::Vanish => return Ok(Ended::Gone),
        };
    }
}

async fn write<S: AsyncWrite + Unpin>(stream: &mut S, octets: &[u8]) -> io::Result<()> {
    let all = async {
        stream.write_all(octets).await?;
        stream.flush().await
    };
    timeout(WRITE, all).await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
}

async fn linger<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut S) {
    let drain = async {
        stream.shutdown().await?;
        let mut scrap = [0; 4096];
        let mut drained = 0;
        while drained < LINGER_OCTETS_MAX {
            match stream.read(&mut scrap).await? {
                0 => break,
                octets => drained += octets,
            }
        }
        io::Result::Ok(())
    };
    let _ = timeout(LINGER, drain).await;
}

fn version(version: Option<rustls::ProtocolVersion>) -> &'static str {
    match version {
        Some(rustls::ProtocolVersion::TLSv1_2) => "TLSv1.2",
        Some(rustls::ProtocolVersion::TLSv1_3) => "TLSv1.3",
        _ => "TLS",
    }
}
