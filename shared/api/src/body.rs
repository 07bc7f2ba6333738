//! Reads bodies within bounds: each within its limit, all together within another.

use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderMap, StatusCode, header};
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use std::sync::Arc;

use crate::problem::Problem;

/// How much a caller may send.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Octets of a JSON body: what a function behind an HTTP API can be handed.
    pub json_octets: usize,
    /// Octets of a raw message.
    pub raw_octets: usize,
    /// Kilobytes of large bodies being read or worked on at once.
    room: Arc<Semaphore>,
    room_kilobytes: u32,
}

/// JSON everywhere, and raw messages where a function takes them (contract section 2): 4.5 MB.
pub const JSON_OCTETS_MAX: usize = 4_500_000;
/// Raw messages on one machine: 40 MB.
pub const RAW_OCTETS_MAX: usize = 40_000_000;
/// Large bodies in flight on one machine: 128 MB, three of the largest.
pub const IN_FLIGHT_KILOBYTES: u32 = 128_000;

/// Bodies up to this do not ask for room: there are as many as there are connections.
const SMALL_OCTETS: usize = 64 * 1024;
/// How long a large body waits for room.
const ROOM_WAIT: Duration = Duration::from_secs(20);
/// What is read and thrown away of a body that is too large, so that its sender comes to read the answer.
const DRAIN_OCTETS_MAX: usize = 64 << 20;
/// And for how long.
const DRAIN_WAIT: Duration = Duration::from_secs(10);
/// How long a sender may stay silent.
const FRAME_WAIT: Duration = Duration::from_secs(60);

impl Limits {
    /// What one machine takes.
    pub fn local() -> Self {
        Self::new(JSON_OCTETS_MAX, RAW_OCTETS_MAX, IN_FLIGHT_KILOBYTES)
    }

    /// These limits; room for at least one of the largest bodies.
    pub fn new(json_octets: usize, raw_octets: usize, in_flight_kilobytes: u32) -> Self {
        let largest = u32::try_from(json_octets.max(raw_octets) / 1_000 + 1).unwrap_or(u32::MAX >> 4);
        let room_kilobytes = in_flight_kilobytes.max(largest);
        let room = Arc::new(Semaphore::new(room_kilobytes as usize));
        Self { json_octets, raw_octets, room, room_kilobytes }
    }
}

/// A body with the room it takes up.
pub(crate) struct Read {
    pub(crate) bytes: Bytes,
    /// Given back when the request is done with.
    pub(crate) room: Option<OwnedSemaphorePermit>,
}

/// Reads a body of at most `limit` octets.
pub(crate) async fn read(
    headers: &HeaderMap,
    body: Body,
    limit: usize,
    limits: &Limits,
) -> Result<Read, Problem> {
    let length =
        headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
    if length.is_some_and(|length| length > limit) {
        // Who waits for leave to send gets the answer instead; who has begun is heard out.
        if !headers.contains_key(header::EXPECT) {
            drain(body).await;
        }
        return Err(too_large(limit));
    }
    let room = take_room(length.unwrap_or(limit), limits).await?;
    let bytes = collect(body, length, limit).await?;
    Ok(Read { bytes, room })
}

/// Waits until there is room for a large body; a small one needs none.
pub(crate) async fn take_room(
    octets: usize,
    limits: &Limits,
) -> Result<Option<OwnedSemaphorePermit>, Problem> {
    if octets <= SMALL_OCTETS {
        return Ok(None);
    }
    let kilobytes = u32::try_from(octets / 1_000 + 1).unwrap_or(u32::MAX).min(limits.room_kilobytes);
    match timeout(ROOM_WAIT, limits.room.clone().acquire_many_owned(kilobytes)).await {
        Ok(Ok(permit)) => Ok(Some(permit)),
        Ok(Err(_)) | Err(_) => Err(Problem::unavailable("too many large requests are being worked on")),
    }
}

async fn collect(mut body: Body, length: Option<usize>, limit: usize) -> Result<Bytes, Problem> {
    let Some(first) = next(&mut body).await? else { return Ok(Bytes::new()) };
    if first.len() > limit {
        drain(body).await;
        return Err(too_large(limit));
    }
    if length == Some(first.len()) {
        return Ok(first);
    }
    let mut whole = BytesMut::with_capacity(length.unwrap_or(2 * first.len()).min(limit));
    whole.extend_from_slice(&first);
    while let Some(chunk) = next(&mut body).await? {
        if whole.len() + chunk.len() > limit {
            drop(whole);
            drain(body).await;
            return Err(too_large(limit));
        }
        whole.extend_from_slice(&chunk);
    }
    Ok(whole.freeze())
}

/// The next piece of data; trailers are passed over.
async fn next(body: &mut Body) -> Result<Option<Bytes>, Problem> {
    loop {
        let frame = match timeout(FRAME_WAIT, body.frame()).await {
            Ok(Some(Ok(frame))) => frame,
            Ok(None) => return Ok(None),
            Ok(Some(Err(_))) => return Err(Problem::new(StatusCode::BAD_REQUEST, "the body broke off")),
            Err(_) => return Err(Problem::new(StatusCode::REQUEST_TIMEOUT, "the body stopped coming")),
        };
        if let Ok(data) = frame.into_data()
            && !data.is_empty()
        {
            return Ok(Some(data));
        }
    }
}

async fn drain(mut body: Body) {
    let reading = async {
        let mut octets = 0;
        while let Ok(Some(chunk)) = next(&mut body).await {
            octets += chunk.len();
            if octets > DRAIN_OCTETS_MAX {
                break;
            }
        }
    };
    // Whatever came of it, the answer is the same.
    let _ = timeout(DRAIN_WAIT, reading).await;
}

fn too_large(limit: usize) -> Problem {
    Problem::new(StatusCode::PAYLOAD_TOO_LARGE, format!("the body is larger than {limit} octets"))
}
