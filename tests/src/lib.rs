//! Tests that need more than one crate.

#[cfg(test)]
mod layers;
