//! What is asked of AWS for a message: mail goes through the use cases on the stores of AWS to a receiver on loopback,
//! and every request is counted. The emulator that answers lends no time and no price; `tests/cost` has the prices.

#![allow(clippy::unwrap_used, reason = "a measurement that cannot go on has failed")]

mod receiver;
mod ways;

use std::sync::atomic::Ordering;
use std::time::Duration;

use posthaste_aws::calls::Tally;
use posthaste_aws::units::item_octets;
use posthaste_aws::{Clients, Names, Told};
use posthaste_mail::MessageId;
use posthaste_pipeline::ambient::Ambient;
use serde_json::{Value, json};

pub use ways::{A_BATCH, Did, Done, Failed};
use ways::{Deployment, policy};

/// A way mail comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// Each message meets functions that have done nothing yet.
    Sparse,
    /// Callers without a pause, one message a call.
    Sustained,
    /// The same with [`A_BATCH`] messages a call.
    Batches,
}

impl Way {
    /// All of them.
    pub const ALL: [Way; 3] = [Way::Sparse, Way::Sustained, Way::Batches];

    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sparse => "sparse",
            Self::Sustained => "sustained",
            Self::Batches => "batches",
        }
    }
}

/// What was measured of one way.
#[derive(Debug)]
pub struct Measured {
    /// What the functions did.
    pub done: Done,
    /// Connections to the receiver.
    pub connections: u64,
    /// Octets sent to it.
    pub octets_out: u64,
    /// Octets that the table has kept of it.
    pub item_octets: u64,
}

/// Sends `messages` one way, each to its end, on tables, queues and a bucket of its own. `hop`: how long the receiver
/// takes for its final reply.
pub async fn measure(endpoint: &str, way: Way, messages: u64, hop: Duration) -> Result<Measured, Failed> {
    let (address, received) = receiver::listen(hop).await?;
    let ambient = Ambient::system(policy(address)?);
    let run = ambient.message_id();
    let clients = Clients::connect(Some(endpoint)).await;
    let mut names = Names::provision(&clients, &name_of(&run)).await?;
    // As deployed: deliveries are not told on the bus unless somebody wants them.
    names.delivered = Told::No;
    let deployment = Deployment { endpoint: endpoint.to_owned(), names, ambient, run: run.to_string() };
    deployment.warm().await?;
    let done = match way {
        Way::Sparse => deployment.sparse(messages).await?,
        Way::Sustained => deployment.steady(messages, 1).await?,
        Way::Batches => deployment.steady(messages, A_BATCH).await?,
    };
    let arrived = received.messages.load(Ordering::Relaxed);
    if arrived != done.deliver.messages || arrived != done.intake.messages {
        return Err(format!("{} jobs delivered {arrived} messages", done.deliver.messages).into());
    }
    Ok(Measured {
        done,
        connections: received.connections.load(Ordering::Relaxed),
        octets_out: received.octets.load(Ordering::Relaxed),
        item_octets: kept(&clients, &deployment.names.table).await?,
    })
}

/// A name that is good for a bucket and everything else, and new.
fn name_of(run: &MessageId) -> String {
    let letters = run.as_str().chars().filter(char::is_ascii_alphanumeric);
    format!("cost-{}", letters.take(24).collect::<String>().to_ascii_lowercase())
}

/// Octets that the table keeps, with the hundred a time that each item and each entry of its index takes beside.
async fn kept(clients: &Clients, table: &str) -> Result<u64, Failed> {
    const BESIDE: usize = 200;
    let mut items = clients.dynamodb.scan().table_name(table).into_paginator().items().send();
    let mut octets = 0;
    while let Some(item) = items.next().await {
        octets += item_octets(&item?) + BESIDE;
    }
    Ok(u64::try_from(octets)?)
}

impl Measured {
    /// As `tests/cost` reads it.
    pub fn json(&self, way: Way) -> Value {
        json!({
            "way": way.as_str(),
            "messages": self.done.deliver.messages,
            "connections": self.connections,
            "octets_out": self.octets_out,
            "item_octets": self.item_octets,
            "intake": shown(&self.done.intake),
            "deliver": shown(&self.done.deliver),
            "poller": shown(&self.done.poller),
        })
    }
}

fn shown(did: &Did) -> Value {
    let calls: Value = serde_json::from_str(&did.calls.line()).unwrap();
    json!({"invocations": did.invocations, "line_octets": did.line_octets, "calls": calls})
}

/// Requests and units of a function for `messages`, in words: what a regression changes.
pub fn said(calls: &Tally, messages: u64) -> Vec<String> {
    let of_each = |number: f64| number / f64::from(u32::try_from(messages).unwrap());
    calls
        .iter()
        .map(|(service, operation, count)| {
            let requests = of_each(f64::from(u32::try_from(count.requests).unwrap()));
            let (writes, reads) = (of_each(count.writes), of_each(count.reads));
            match service {
                "DynamoDB" => format!("{operation} {requests}: {writes} written, {reads} read"),
                _ => format!("{operation} {requests}"),
            }
        })
        .collect()
}
