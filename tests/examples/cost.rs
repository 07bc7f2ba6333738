//! Prints what was asked of AWS for messages that come three ways, one JSON line a way.
//!
//! `cost ENDPOINT [MESSAGES]`: an endpoint that speaks AWS, with any credentials; messages a way.

use std::time::Duration;

use posthaste_tests::cost::{Failed, Way, measure};

/// Messages a way, where nobody says.
const MESSAGES: u64 = 300;
/// How long a receiver takes for its final reply: the hop that costs are worked out for.
const HOP: Duration = Duration::from_millis(300);

#[tokio::main]
async fn main() -> Result<(), Failed> {
    let mut arguments = std::env::args().skip(1);
    let endpoint = arguments.next().ok_or("cost ENDPOINT [MESSAGES]")?;
    let messages = arguments.next().map_or(Ok(MESSAGES), |text| text.parse())?;
    for way in Way::ALL {
        println!("{}", measure(&endpoint, way, messages, HOP).await?.json(way));
    }
    Ok(())
}
