//! The loop that owns the socket: writes while it reads, so that neither side can block the other, and lets no wait
//! outlast its time. A write that fails is no end yet: what the peer said before it went is read first.

use std::fmt;
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_rustls::client::TlsStream;

use crate::Loss;
use crate::dialogue::terms::Dot;
use crate::wire::stuffing::DOT_LINE_OCTETS;
use crate::wire::{Answer, ReplyReader};

/// How long after a failed write, or a close within the message, the peer's last words are waited for. 2 s: they were
/// sent before, or not at all.
const LAST_WORDS: Duration = Duration::from_secs(2);
/// Octets read from the socket at a time.
const READ_OCTETS: usize = 4096;
/// Most slices of one write: far more than a message without leading dots has, far less than systems allow (1,024).
const SLICES_MAX: usize = 64;

pub(crate) trait Duplex: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Duplex for S {}

pub(crate) enum Stream {
    Tcp(TcpStream),
    Pipe(Box<dyn Duplex>),
    Tls(Box<TlsStream<Box<dyn Duplex>>>),
    /// Between two streams, and when all is over.
    Gone,
}

/// A time-out and the caller's deadline, whichever comes first.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wait {
    pub(crate) at_most: Duration,
    pub(crate) deadline: Instant,
}

impl Wait {
    pub(crate) fn until(self) -> Instant {
        Instant::now().checked_add(self.at_most).map_or(self.deadline, |end| end.min(self.deadline))
    }

    /// Whose end came when `until` has come.
    pub(crate) fn stop(self, until: Instant) -> Stop {
        if until == self.deadline { Stop::Deadline } else { Stop::Lost(Loss::TimedOut) }
    }
}

/// Why there is no reply.
#[derive(Debug)]
pub(crate) enum Stop {
    Lost(Loss),
    Deadline,
}

/// What became of writing a message.
#[derive(Debug)]
pub(crate) enum Sent {
    Whole,
    /// The peer replied before it was whole.
    Answered(Answer, Dot),
    Lost(Loss, Dot),
    /// The deadline came before the dot.
    Late,
}

pub(crate) struct Channel {
    stream: Stream,
    scratch: Box<[u8]>,
    pub(crate) replies: ReplyReader,
    /// What to write before the next read.
    pub(crate) out: BytesMut,
    broken: Option<Loss>,
    ended: bool,
    /// How often something was written and then waited for.
    pub(crate) round_trips: u32,
}

impl fmt::Debug for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Channel").field("broken", &self.broken).finish_non_exhaustive()
    }
}

enum Progress {
    Wrote(usize),
    Flushed,
    Heard,
    Ended,
    Failed(io::Error),
}

impl Channel {
    pub(crate) fn new(stream: Stream) -> Self {
        Self {
            stream,
            scratch: vec![0; READ_OCTETS].into(),
            replies: ReplyReader::default(),
            out: BytesMut::with_capacity(512),
            broken: None,
            ended: false,
            round_trips: 0,
        }
    }

    /// Writes what is to be written and gives the next reply.
    pub(crate) async fn answer(&mut self, wait: Wait) -> Result<Answer, Stop> {
        let until = wait.until();
        match timeout_at(until, self.converse()).await {
            Ok(result) => result.map_err(Stop::Lost),
            Err(_) => Err(wait.stop(until)),
        }
    }

    async fn converse(&mut self) -> Result<Answer, Loss> {
        if !self.out.is_empty() {
            self.write_out().await;
            self.round_trips += 1;
        }
        loop {
            if let Some(answer) = self.replies.next().map_err(Loss::Garbage)? {
                return Ok(answer);
            }
            self.hear().await?;
        }
    }

    /// Reads once; the error is how the peer was lost.
    async fn hear(&mut self) -> Result<(), Loss> {
        let read = match self.broken.clone() {
            None => poll_fn(|cx| self.poll_hear(cx)).await,
            Some(how) => timeout(LAST_WORDS, poll_fn(|cx| self.poll_hear(cx))).await.map_err(|_| how)?,
        };
        match read {
            Ok(0) => Err(self.broken.clone().unwrap_or(Loss::Closed)),
            Ok(_) => Ok(()),
            Err(error) => Err(self.broken.clone().unwrap_or_else(|| read_loss(&error))),
        }
    }

    /// Sends QUIT, or whatever else is left to say, without waiting for an answer.
    pub(crate) async fn part(mut self, at_most: Duration) {
        let farewell = async {
            self.write_out().await;
            match &mut self.stream {
                Stream::Tcp(tcp) => tcp.shutdown().await,
                Stream::Pipe(pipe) => pipe.shutdown().await,
                Stream::Tls(tls) => tls.shutdown().await,
                Stream::Gone => Ok(()),
            }
        };
        // Whether the peer hears it changes nothing any more.
        let _ = timeout(at_most, farewell).await;
    }

    /// Writes `out` without waiting for a reply; what fails shows when the next one is asked for.
    pub(crate) async fn write_soon(&mut self, wait: Wait) {
        if timeout_at(wait.until(), self.write_out()).await.is_err() {
            self.broken.get_or_insert(Loss::TimedOut);
        }
    }

    async fn write_out(&mut self) {
        let mut out = std::mem::take(&mut self.out);
        let mut rest: &[u8] = &out;
        while self.broken.is_none() {
            let slices = [IoSlice::new(rest)];
            let slices = if rest.is_empty() { &[][..] } else { &slices[..] };
            match poll_fn(|cx| self.poll_push(cx, slices)).await {
                Progress::Wrote(octets) => rest = &rest[octets..],
                Progress::Flushed => break,
                Progress::Heard => {}
                Progress::Ended => self.broken = Some(Loss::Closed),
                Progress::Failed(error) => self.broken = Some(write_loss(&error)),
            }
        }
        out.clear();
        self.out = out;
    }

    /// Writes a message given as slices, the last one ending with the final dot's line. `block` bounds the time
    /// without progress; `latest` is when the dot must have gone.
    pub(crate) async fn write_message<'a>(
        &mut self,
        message: impl Iterator<Item = &'a [u8]>,
        block: Duration,
        latest: Instant,
    ) -> Sent {
        let mut message = message.peekable();
        let mut window: Vec<IoSlice<'a>> = Vec::with_capacity(8);
        self.round_trips += 1;
        let wait = Wait { at_most: block, deadline: latest };
        // Hearing is no progress: a peer that drips octets and reads none is not waited for longer.
        let mut until = wait.until();
        loop {
            if window.is_empty() {
                while window.len() < SLICES_MAX
                    && let Some(slice) = message.next()
                {
                    window.push(IoSlice::new(slice));
                }
            }
            let progress = timeout_at(until, poll_fn(|cx| self.poll_push(cx, &window))).await;
            let how = match progress {
                Ok(Progress::Wrote(octets)) => {
                    advance(&mut window, octets);
                    until = wait.until();
                    continue;
                }
                Ok(Progress::Flushed) => return Sent::Whole,
                Ok(Progress::Heard) => match self.replies.next() {
                    Ok(None) => continue,
                    Ok(Some(answer)) => return Sent::Answered(answer, self.dot(&window, message.peek())),
                    Err(text) => Loss::Garbage(text),
                },
                Ok(Progress::Ended) => Loss::Closed,
                Ok(Progress::Failed(error)) => write_loss(&error),
                Err(_) => match (wait.stop(until), self.dot(&window, message.peek())) {
                    (Stop::Deadline, Dot::NotBegun) => return Sent::Late,
                    (Stop::Deadline, Dot::Begun) => Loss::TimedOut,
                    (Stop::Lost(how), _) => how,
                },
            };
            let dot = self.dot(&window, message.peek());
            return self.last_words(how, dot).await;
        }
    }

    /// Whether the dot's line has begun to leave. Over TLS its octets are part of a record that means nothing until the
    /// last of it has left, and then the message would be whole.
    fn dot(&self, window: &[IoSlice<'_>], more: Option<&&[u8]>) -> Dot {
        let left: usize = window.iter().map(|slice| slice.len()).sum();
        let sealed = matches!(self.stream, Stream::Tls(_));
        if sealed || more.is_some() || left >= DOT_LINE_OCTETS { Dot::NotBegun } else { Dot::Begun }
    }

    /// The message cannot go on; perhaps the peer said why.
    async fn last_words(&mut self, how: Loss, dot: Dot) -> Sent {
        if matches!(how, Loss::Garbage(_) | Loss::TimedOut) {
            return Sent::Lost(how, dot);
        }
        self.broken = Some(how);
        match timeout(LAST_WORDS, self.converse()).await {
            Ok(Ok(answer)) => Sent::Answered(answer, dot),
            Ok(Err(how)) => Sent::Lost(how, dot),
            Err(_) => Sent::Lost(self.broken.clone().unwrap_or(Loss::Closed), dot),
        }
    }

    /// Takes what has already come, without waiting; whether the peer has ended its side.
    pub(crate) async fn overhear(&mut self) -> Overheard {
        let read = poll_fn(|cx| Poll::Ready(self.poll_hear(cx))).await;
        match read {
            Poll::Ready(Ok(0) | Err(_)) if self.replies.is_empty() => Overheard::Ended,
            _ if self.replies.is_empty() => Overheard::Nothing,
            _ => Overheard::Something,
        }
    }

    /// TLS over what was in clear until now.
    pub(crate) async fn encrypt(
        &mut self,
        connector: &tokio_rustls::TlsConnector,
        name: rustls::pki_types::ServerName<'static>,
    ) -> io::Result<&rustls::ClientConnection> {
        let plain: Box<dyn Duplex> = match std::mem::replace(&mut self.stream, Stream::Gone) {
            Stream::Tcp(tcp) => Box::new(tcp),
            Stream::Pipe(pipe) => pipe,
            Stream::Tls(_) | Stream::Gone => return Err(io::ErrorKind::NotConnected.into()),
        };
        self.replies.clear();
        let encrypted = Box::new(connector.connect(name, plain).await?);
        self.stream = Stream::Tls(encrypted);
        match &self.stream {
            Stream::Tls(tls) => Ok(tls.get_ref().1),
            Stream::Tcp(_) | Stream::Pipe(_) | Stream::Gone => Err(io::ErrorKind::NotConnected.into()),
        }
    }

    /// Closes without a word.
    pub(crate) fn cut(&mut self) {
        self.stream = Stream::Gone;
        self.broken.get_or_insert(Loss::Closed);
    }

    /// One step of writing; reads meanwhile when the peer does not take more. Nothing left to write: flushes.
    fn poll_push(&mut self, cx: &mut Context<'_>, slices: &[IoSlice<'_>]) -> Poll<Progress> {
        let Some(stream) = self.stream.pinned() else {
            return Poll::Ready(Progress::Failed(io::ErrorKind::NotConnected.into()));
        };
        let written = if slices.is_empty() {
            stream.poll_flush(cx).map_ok(|()| Progress::Flushed)
        } else {
            stream.poll_write_vectored(cx, slices).map_ok(Progress::Wrote)
        };
        match written {
            Poll::Ready(Ok(Progress::Wrote(0))) => {
                return Poll::Ready(Progress::Failed(io::ErrorKind::WriteZero.into()));
            }
            Poll::Ready(Ok(progress)) => return Poll::Ready(progress),
            Poll::Ready(Err(error)) => return Poll::Ready(Progress::Failed(error)),
            Poll::Pending => {}
        }
        if !self.replies.has_room() {
            return Poll::Pending;
        }
        self.poll_hear(cx).map(|read| match read {
            Ok(0) => Progress::Ended,
            Ok(_) => Progress::Heard,
            Err(error) => Progress::Failed(error),
        })
    }

    fn poll_hear(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if self.ended {
            return Poll::Ready(Ok(0));
        }
        let Some(stream) = self.stream.pinned() else { return Poll::Ready(Ok(0)) };
        let mut buffer = ReadBuf::new(&mut self.scratch);
        stream.poll_read(cx, &mut buffer).map_ok(|()| {
            let heard = buffer.filled();
            self.replies.push(heard);
            self.ended = heard.is_empty();
            heard.len()
        })
    }
}

/// What stands unread, or that nothing will.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Overheard {
    Nothing,
    Something,
    Ended,
}

impl Stream {
    fn pinned(&mut self) -> Option<Pin<&mut dyn Duplex>> {
        match self {
            Self::Tcp(tcp) => Some(Pin::new(tcp)),
            Self::Pipe(pipe) => Some(Pin::new(pipe)),
            Self::Tls(tls) => Some(Pin::new(tls)),
            Self::Gone => None,
        }
    }
}

fn advance(window: &mut Vec<IoSlice<'_>>, octets: usize) {
    let mut rest = &mut window[..];
    IoSlice::advance_slices(&mut rest, octets);
    let left = rest.len();
    window.drain(..window.len() - left);
}

fn write_loss(error: &io::Error) -> Loss {
    Loss::WriteFailed(error.to_string())
}

fn read_loss(error: &io::Error) -> Loss {
    match error.kind() {
        io::ErrorKind::TimedOut => Loss::TimedOut,
        io::ErrorKind::InvalidData => Loss::Garbage(error.to_string()),
        _ => Loss::Closed,
    }
}
