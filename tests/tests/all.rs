//! Everything that is tested with more than one crate, in one binary.
//!
//! `SEED=7 cargo test -p posthaste-tests --test all shimmed` runs the shimmed cases on that day only.

use posthaste_tests::contract::{delivering, embedded, shim};

/// The days every shimmed case is run on.
fn seeds() -> Vec<u64> {
    match std::env::var("SEED") {
        Ok(seed) => vec![seed.parse().expect("SEED is a number")],
        Err(_) => vec![1, 2, 3],
    }
}

macro_rules! contract {
    ($($module:ident: $($case:ident)*;)*) => {
        mod plain {
            $($(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                let (subject, _directory) = super::embedded::fresh();
                posthaste_tests::contract::$module::$case(&subject).await;
            })*)*
        }
        mod shimmed {
            $($(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                for seed in super::seeds() {
                    let (subject, _directory) = super::embedded::fresh();
                    let subject = super::shim::shimmed(&subject, seed);
                    posthaste_tests::contract::$module::$case(&subject).await;
                }
            })*)*
        }
        /// On the endpoint that `POSTHASTE_TEST_AWS` names.
        mod aws {
            mod plain {
                $($(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $case() {
                    if let Some(subject) = super::super::aws_subject().await {
                        posthaste_tests::contract::$module::$case(&subject).await;
                    }
                })*)*
            }
            mod shimmed {
                $($(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $case() {
                    for seed in super::super::seeds() {
                        if let Some(subject) = super::super::aws_subject().await {
                            let subject = super::super::shim::shimmed(&subject, seed);
                            posthaste_tests::contract::$module::$case(&subject).await;
                        }
                    }
                })*)*
            }
        }
    };
}

async fn aws_subject() -> Option<posthaste_tests::contract::Subject> {
    posthaste_tests::contract::aws::fresh().await
}

contract! {
    rows: what_was_accepted_is_there a_key_comes_once a_batch_is_answered_in_order
        a_row_is_written_only_over_its_version one_of_many_writers_wins a_message_is_its_rows;
    effects: effects_can_be_done_again the_row_comes_before_its_effects a_longer_suppression_stays;
    jobs: jobs_come_when_they_are_due a_kept_job_comes_again every_job_comes
        the_overdue_are_shown_until_they_are_seen_to;
    finding: messages_are_found_newest_first pages_stay_put what_waits_is_counted;
    lists: suppressions_are_listed_by_address events_come_after_a_cursor dead_letters_are_taken_off_one_by_one
        holds_are_put_and_taken_away a_secret_is_made_once;
    access: keys_are_found_listed_and_revoked tenants_are_found_by_their_tags reports_are_kept_once_and_listed
            a_quota_is_filled_and_not_more a_quota_holds_against_many_at_once
        an_upload_is_put_once_and_is_its_tenants an_upload_has_the_length_that_was_announced;
    pacing: tokens_are_as_the_book_says no_time_is_handed_out_twice connections_are_counted_across_holders
        connections_are_opened_and_given_up_as_told one_standing_follows_another places_in_line_are_handed_out_once
        mailboxes_are_counted_together;
    identities: identities_are_written_under_their_versions a_domain_is_proved_by_one
        proved_domains_are_looked_at reports_of_a_domain_are_kept_once
        what_is_sealed_opens_for_its_purpose_only;
}

mod deliveries {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn everything_accepted_ends() {
        for seed in seeds() {
            let (subject, _directory) = embedded::fresh();
            delivering::everything_accepted_ends(&shim::shimmed(&subject, seed), seed).await;
        }
    }

    /// On the endpoint that `POSTHASTE_TEST_AWS` names; its answers take the time they take.
    mod aws {
        use super::*;

        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn everything_accepted_ends() {
            for seed in seeds() {
                if let Some(subject) = aws_subject().await {
                    delivering::everything_accepted_ends(&shim::shimmed(&subject, seed), seed).await;
                }
            }
        }
    }
}

mod cost {
    /// On the endpoint that `POSTHASTE_TEST_AWS` names.
    mod aws {
        use std::time::Duration;

        use posthaste_tests::cost::{A_BATCH, Measured, Way, measure, said};

        async fn measured(way: Way, messages: u64) -> Option<Measured> {
            let endpoint = std::env::var("POSTHASTE_TEST_AWS").ok()?;
            Some(
                measure(&endpoint, way, messages, Duration::ZERO)
                    .await
                    .expect("every message comes to its end"),
            )
        }

        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn a_message_by_itself_asks_as_much_as_it_did() {
            let Some(Measured { done, .. }) = measured(Way::Sparse, 5).await else { return };
            // Who may send as this domain is asked; then what is written.
            let intake = [
                "GetItem 1: 0 written, 1 read",
                "PutItem 3: 4 written, 0 read",
                "PutObject 1",
                "SendMessageBatch 1",
            ];
            assert_eq!(said(&done.intake.calls, 5), intake);
            // A function that is new reads its secret, the holds, and how the receiver stands; each message its row and
            // its recipient's suppression, and then the claim, the settlement and the event are written. A connection
            // is taken and given back; at the first delivery the receiver's standing is written, and its pace begun.
            let deliver = [
                "GetItem 4: 0 written, 4 read",
                "PutItem 3.2: 5.2 written, 0 read",
                "Query 2: 0 written, 1.5 read",
                "UpdateItem 2.4: 2.4 written, 0 read",
                "GetObject 1",
            ];
            assert_eq!(said(&done.deliver.calls, 5), deliver);
            assert_eq!(said(&done.poller.calls, 5), ["DeleteMessageBatch 1", "ReceiveMessage 1"]);
        }

        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn a_message_of_a_batch_asks_as_much_as_it_did() {
            let Some(Measured { done, .. }) = measured(Way::Batches, A_BATCH).await else { return };
            // The list of a request's messages is one item of three kilobytes and a half.
            let intake = [
                "GetItem 0.01: 0 written, 0.01 read",
                "PutItem 2.01: 3.04 written, 0 read",
                "PutObject 0.01",
                "SendMessageBatch 0.1",
            ];
            assert_eq!(said(&done.intake.calls, A_BATCH), intake);
            // Those who deliver the first at once may each have begun the receiver's standing.
            let asked = said(&done.deliver.calls, A_BATCH);
            let written: Vec<&String> = asked.iter().filter(|line| line.starts_with("Put")).collect();
            let [line] = &written[..] else { panic!("{asked:?}") };
            assert!(["PutItem 3.0", "PutItem 3.1"].iter().any(|most| line.starts_with(most)), "{line}");
            // Connections are taken and given back together, and renewed by nobody within a batch.
            let paced: f64 = asked
                .iter()
                .filter_map(|line| line.strip_prefix("UpdateItem ")?.split(':').next()?.parse::<f64>().ok())
                .sum();
            assert!(paced < 1.0, "{asked:?}");
        }
    }
}

macro_rules! durable {
    ($($case:ident)*) => {
        mod durable {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                super::embedded::$case().await;
            })*

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn what_is_acknowledged_survives_a_kill() {
                let name = "durable::what_is_acknowledged_survives_a_kill";
                super::embedded::what_is_acknowledged_survives_a_kill(name).await;
            }
        }
    };
}

durable! {
    a_stop_loses_nothing a_copy_of_the_running_files_opens a_store_has_one_owner what_is_old_goes
        old_uploads_go
        a_long_line_keeps_its_order a_job_that_is_out_stays_out
}
