//! A receiver on loopback that takes everything, as slowly as a real one answers, and counts what came.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

/// What came.
#[derive(Debug, Default)]
pub struct Received {
    pub connections: AtomicU64,
    pub messages: AtomicU64,
    /// Commands and messages, as they came.
    pub octets: AtomicU64,
}

/// Listens for as long as the program runs; `hop` is waited before each final reply.
pub async fn listen(hop: Duration) -> std::io::Result<(SocketAddr, Arc<Received>)> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let (address, received) = (listener.local_addr()?, Arc::new(Received::default()));
    let counts = received.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            counts.connections.fetch_add(1, Ordering::Relaxed);
            let counts = counts.clone();
            // A connection that breaks is its sender's story to tell.
            tokio::spawn(async move { converse(stream, hop, &counts).await });
        }
    });
    Ok((address, received))
}

async fn converse(stream: TcpStream, hop: Duration, received: &Received) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    stream.write_all(b"220 mx.example.net ESMTP\r\n").await?;
    let mut line = Vec::new();
    loop {
        line.clear();
        if stream.read_until(b'\n', &mut line).await? == 0 {
            return Ok(());
        }
        received.octets.fetch_add(line.len() as u64, Ordering::Relaxed);
        let verb = line.get(..4).unwrap_or(&line).to_ascii_uppercase();
        let reply: &[u8] = match verb.as_slice() {
            b"EHLO" => b"250-mx.example.net\r\n250-PIPELINING\r\n250-8BITMIME\r\n250 SIZE 26214400\r\n",
            b"DATA" => {
                stream.write_all(b"354 go on\r\n").await?;
                take_message(&mut stream, received).await?;
                tokio::time::sleep(hop).await;
                b"250 2.0.0 taken\r\n"
            }
            b"QUIT" => {
                return stream.write_all(b"221 2.0.0 bye\r\n").await;
            }
            _ => b"250 2.1.0 ok\r\n",
        };
        stream.write_all(reply).await?;
    }
}

async fn take_message(stream: &mut BufReader<TcpStream>, received: &Received) -> std::io::Result<()> {
    let mut line = Vec::new();
    while line != b".\r\n" {
        line.clear();
        if stream.read_until(b'\n', &mut line).await? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        received.octets.fetch_add(line.len() as u64, Ordering::Relaxed);
    }
    received.messages.fetch_add(1, Ordering::Relaxed);
    Ok(())
}
