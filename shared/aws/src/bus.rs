//! Events on the outbound bus, in tens. At least once: their ids tell repeats.

use aws_sdk_eventbridge::types::PutEventsRequestEntry;
use posthaste_pipeline::effect::{Event, EventKind};
use posthaste_pipeline::stores::StoreError;

use crate::names::Told;
use crate::patience::Patience;
use crate::{Aws, unavailable};

/// Entries of one call.
const BATCH: usize = 10;
/// Who says so.
const SOURCE: &str = "posthaste";

impl Aws {
    /// Puts events on the bus, if there is one; deliveries only where they are wanted.
    pub(crate) async fn publish(&self, events: &[Event]) -> Result<(), StoreError> {
        let Some(bus) = &self.names().bus else { return Ok(()) };
        let wanted =
            |event: &&Event| event.kind != EventKind::Delivered || self.names().delivered == Told::Yes;
        let mut entries = Vec::new();
        for event in events.iter().filter(wanted) {
            let detail =
                serde_json::to_string(event).map_err(|error| StoreError::Corrupt(error.to_string()))?;
            entries.push(entry(bus, event.kind.as_str(), detail));
        }
        for some in entries.chunks(BATCH) {
            self.publish_some(some.to_vec()).await?;
        }
        Ok(())
    }

    async fn publish_some(&self, mut entries: Vec<PutEventsRequestEntry>) -> Result<(), StoreError> {
        let mut patience = Patience::new(self.ambient(), "telling events");
        loop {
            let put = self
                .clients()
                .eventbridge
                .put_events()
                .set_entries(Some(entries.clone()))
                .send()
                .await
                .map_err(|error| unavailable("telling events", error))?;
            // Answers stand in the order of what was asked.
            let answers = put.entries.unwrap_or_default();
            let mut at = 0;
            entries.retain(|_| {
                at += 1;
                answers.get(at - 1).is_some_and(|answer| answer.error_code.is_some())
            });
            if entries.is_empty() || put.failed_entry_count == 0 {
                return Ok(());
            }
            patience.pause(entries.len()).await?;
        }
    }

    /// Tells that a submission was refused after the fact, when nobody waited for the answer any more.
    pub async fn tell_refused(&self, detail: &serde_json::Value) -> Result<(), StoreError> {
        match &self.names().bus {
            Some(bus) => self.publish_some(vec![entry(bus, "submission.refused", detail.to_string())]).await,
            None => Ok(()),
        }
    }
}

fn entry(bus: &str, kind: &str, detail: String) -> PutEventsRequestEntry {
    PutEventsRequestEntry::builder()
        .event_bus_name(bus)
        .source(SOURCE)
        .detail_type(kind)
        .detail(detail)
        .build()
}
