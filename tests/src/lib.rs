//! Tests that need more than one crate.

pub mod contract;
pub mod cost;
#[cfg(test)]
mod layers;
#[cfg(test)]
mod simulation;
