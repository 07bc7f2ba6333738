//! A name server for tests.
