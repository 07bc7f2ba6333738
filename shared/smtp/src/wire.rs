//! Octets.
