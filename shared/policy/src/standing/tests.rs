//! See the table of the contract.
