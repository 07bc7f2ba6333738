//! The policy file of a running host: put in force again when it changes, kept as it was when it is wrong.

use std::path::{Path, PathBuf};
use std::time::Duration;

use posthaste_pipeline::ambient::PolicyInForce;
use posthaste_pipeline::deliver::fit_for_work;
use posthaste_policy::Policy;
use posthaste_policy::relay::secret_variable;

use super::Stop;
use super::chores::{Rested, rest};
use crate::commands::policy::{Unreadable, read};

/// How often the file is read: a change holds within 60 s at the latest, and a file of some KB costs nothing.
const LOOK: Duration = Duration::from_secs(5);

/// The secret of a route, from the environment: `relay-key` is `POSTHASTE_SECRET_RELAY_KEY`.
pub(super) fn secret(name: &str) -> Option<String> {
    std::env::var(secret_variable(name)).ok().filter(|secret| !secret.is_empty())
}

/// The policy of a host of one's own, whose API is reached at an address: what links in mail begin with where the file does
/// not say, and no domain has to be registered.
pub(super) fn reached_at(mut policy: Policy, address: &str) -> Policy {
    policy.mta.public_url.get_or_insert_with(|| address.to_owned());
    policy.auth.require_identity.get_or_insert(false);
    policy.auth.require_alignment.get_or_insert(false);
    policy
}

/// A policy file, and what links begin with if it does not say.
pub(super) struct File {
    pub(super) file: PathBuf,
    pub(super) links: String,
}

/// Puts the file's policy in force whenever it has changed. What is wrong is told once, and the old one stays.
pub(super) async fn watch(File { file, links }: File, in_force: PolicyInForce, mut stop: Stop) {
    let mut last = look(&file);
    while rest(LOOK, &mut stop).await == Rested::GoOn {
        let now = look(&file);
        if now == last {
            continue;
        }
        last = now;
        let path = file.clone();
        let Ok(read) = tokio::task::spawn_blocking(move || load(&path)).await else { continue };
        match read {
            Ok(policy) => {
                for warning in policy.warnings() {
                    tracing::warn!("{}: {warning}", file.display());
                }
                in_force.replace(reached_at(policy, &links));
                tracing::info!(file = %file.display(), "the changed policy is in force");
            }
            Err(lines) => {
                for line in lines {
                    tracing::error!("{line}");
                }
                tracing::error!(file = %file.display(), "the changed policy is refused; the old one stays in force");
            }
        }
    }
}

/// What the file holds now; none while it cannot be read. The whole of it, since editors keep times and sizes.
fn look(file: &Path) -> Option<Vec<u8>> {
    std::fs::read(file).ok()
}

fn load(file: &Path) -> Result<Policy, Vec<String>> {
    let policy = read(file).map_err(|unreadable: Unreadable| unreadable.lines())?;
    fit_for_work(&policy).map_err(|why| vec![format!("{}: {why}", file.display())])?;
    Ok(policy)
}
