//! The simulator: the policy's own pacing, reactions, retries and lanes on a virtual clock, against receivers that a
//! scenario describes. It sends nothing and asks nobody.

mod chance;
mod crew;
mod lines;
mod outcome;
mod queue;
mod receiver;
mod report;
mod requests;
pub(crate) mod scenario;
#[cfg(test)]
mod tests;
mod world;

pub(crate) use report::Report;
use scenario::Scenario;
use world::World;

/// The scenarios that come with the program, each with its name.
pub(crate) const SHIPPED: [(&str, &str); 3] = [
    ("campaign", include_str!("../../scenarios/campaign.toml")),
    ("outage", include_str!("../../scenarios/outage.toml")),
    ("throttling", include_str!("../../scenarios/throttling.toml")),
];

/// Plays a scenario to its end. `progress` is told the time in it, in seconds, and how many messages wait.
pub(crate) fn play(
    text: &str,
    seed: Option<u64>,
    mut progress: impl FnMut(f64, u64),
) -> Result<Report, String> {
    let (mut scenario, policy) = Scenario::read(text)?;
    scenario.seed = seed.unwrap_or(scenario.seed);
    let mut world = World::new(scenario, policy)?;
    world.run(|now, open| progress(now as f64 / 1e6, open));
    Ok(Report::of(&world))
}
