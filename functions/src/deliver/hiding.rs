//! For how long a lane's queue hides what a function has in hand.
//!
//! A queue hides records for longer than the longest invocation, so a crash costs its jobs that long. In the lane of
//! one-time passwords that is too long: there records are hidden for a minute and a half, again and again while the
//! invocation lasts.

use std::convert::Infallible;
use std::time::Duration;

use aws_sdk_sqs::error::SdkError;
use aws_sdk_sqs::operation::change_message_visibility_batch::ChangeMessageVisibilityBatchError;
use aws_sdk_sqs::types::{ChangeMessageVisibilityBatchRequestEntry, QueueAttributeName};
use aws_smithy_types::error::display::DisplayErrorContext;
use posthaste_aws::Aws;
use tokio::sync::OnceCell;

use super::batch::Back;

/// What a crash costs a one-time password; longer than a row's lease (60 s), which must have lapsed by then.
const HIDDEN: Duration = Duration::from_secs(90);
/// Hidden again when so many parts of that have passed: two tries may fail.
const PARTS: u32 = 3;
/// Entries of one call.
const BATCH: usize = 10;

/// How records are hidden in one lane.
pub(super) enum Hiding {
    /// As long as the queue says.
    AsQueued,
    /// For a short time, again and again.
    Renewed {
        /// How long the queue hides, asked once: nothing is hidden for longer than that by us.
        queue: OnceCell<Duration>,
    },
}

impl Hiding {
    /// Of a lane.
    pub fn of(lane: &str) -> Self {
        if lane == "transactional" { Self::Renewed { queue: OnceCell::new() } } else { Self::AsQueued }
    }

    /// Keeps records hidden for as long as it is awaited.
    pub async fn keep(&self, aws: &Aws, queue: &str, receipts: &[String]) -> Infallible {
        let Self::Renewed { queue: known } = self else { return std::future::pending().await };
        let asked = known.get_or_try_init(|| queue_hides(aws, queue)).await;
        let time = match asked {
            Ok(queue) => HIDDEN.min(*queue),
            Err(why) => {
                tracing::warn!(why, "a queue does not say how long it hides");
                HIDDEN
            }
        };
        let entries: Vec<(&str, Duration)> = receipts.iter().map(|receipt| (&**receipt, time)).collect();
        loop {
            hide(aws, queue, &entries).await;
            tokio::time::sleep(time / PARTS).await;
        }
    }
}

/// Shows records again when their time has come. What fails here only makes them come later.
pub(super) async fn show_again(aws: &Aws, queue: &str, records: &[Back]) {
    let entries: Vec<_> = records.iter().map(|back| (&*back.receipt, back.after)).collect();
    hide(aws, queue, &entries).await;
}

/// Hides records for so long, counted from now.
async fn hide(aws: &Aws, queue: &str, records: &[(&str, Duration)]) {
    for some in records.chunks(BATCH) {
        if let Err(error) = hide_some(aws, queue, some).await {
            tracing::warn!(error = %DisplayErrorContext(error), "it could not be said for how long records are hidden");
        }
    }
}

async fn hide_some(
    aws: &Aws,
    queue: &str,
    records: &[(&str, Duration)],
) -> Result<(), SdkError<ChangeMessageVisibilityBatchError>> {
    let entry = |(at, (receipt, time)): (usize, &(&str, Duration))| {
        ChangeMessageVisibilityBatchRequestEntry::builder()
            .id(at.to_string())
            .receipt_handle(*receipt)
            .visibility_timeout(i32::try_from(time.as_secs()).unwrap_or(i32::MAX))
            .build()
    };
    let entries: Result<Vec<_>, _> = records.iter().enumerate().map(entry).collect();
    let entries = entries.map_err(SdkError::construction_failure)?;
    // Entries that fail are of records that are gone: they need no hiding.
    let change = aws.clients().sqs.change_message_visibility_batch().queue_url(queue);
    change.set_entries(Some(entries)).send().await.map(drop)
}

async fn queue_hides(aws: &Aws, queue: &str) -> Result<Duration, String> {
    let asked = QueueAttributeName::VisibilityTimeout;
    let got = aws.clients().sqs.get_queue_attributes().queue_url(queue).attribute_names(asked.clone());
    let got = got.send().await.map_err(|error| DisplayErrorContext(error).to_string())?;
    let seconds = got.attributes.and_then(|all| all.get(&asked)?.parse().ok());
    seconds.map(Duration::from_secs).ok_or_else(|| "it has no visibility time-out".to_owned())
}
