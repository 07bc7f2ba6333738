//! Tests that need more than one crate.

pub mod contract;
#[cfg(test)]
mod layers;
#[cfg(test)]
mod simulation;
