//! The API's socket.

use std::io;
use std::net::SocketAddr;

use axum::Router;
use axum::serve::ListenerExt;
use tokio::net::{TcpListener, TcpSocket};

use super::Stop;

/// Connections the system keeps until they are accepted: a burst of clients is no reason to refuse any.
const BACKLOG: u32 = 4_096;

/// Binds and listens.
pub(super) fn listen(at: SocketAddr) -> io::Result<TcpListener> {
    let socket = if at.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // After a restart the port is free at once, whatever connections of the last process linger.
    #[cfg(unix)]
    socket.set_reuseaddr(true)?;
    socket.bind(at)?;
    socket.listen(BACKLOG)
}

/// Serves until it is time to stop; then ends idle connections, and each other one with its answer.
pub(super) async fn serve(listener: TcpListener, router: Router, mut stop: Stop) {
    // Answers are small and written at once: waiting to fill a packet only delays them.
    let listener = listener.tap_io(|stream| {
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "a connection keeps Nagle's algorithm");
        }
    });
    let served = axum::serve(listener, router).with_graceful_shutdown(async move { stop.asked().await });
    if let Err(error) = served.await {
        tracing::error!(%error, "the API ended");
    }
}
