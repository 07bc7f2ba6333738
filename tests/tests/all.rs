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
    access: keys_are_found_listed_and_revoked a_quota_is_filled_and_not_more a_quota_holds_against_many_at_once
        an_upload_is_put_once_and_is_its_tenants an_upload_has_the_length_that_was_announced;
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
