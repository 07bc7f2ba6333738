//! What can go wrong, and what callers are told of it.

use std::path::PathBuf;

use posthaste_pipeline::stores::StoreError;
use rusqlite::ErrorCode;

/// Why a store could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process, or another handle of this one, has it.
    #[error("{} is in use by another process: a store has one owner; stop it or name another directory", .0.display())]
    InUse(PathBuf),
    /// Written by a later version.
    #[error(
        "the store has schema version {found}, this program knows up to {known}: use the program that wrote it"
    )]
    UnknownVersion {
        /// What it has.
        found: i64,
        /// What is known here.
        known: usize,
    },
    /// The directory or its lock could not be made.
    #[error("cannot use {}: {error}", .path.display())]
    Directory {
        /// Which.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// SQLite refused.
    #[error("the store cannot be opened: {0}")]
    Sqlite(#[from] rusqlite::Error),
    /// A document in it is unreadable.
    #[error("the store holds something unreadable: {0}")]
    Unreadable(String),
}

/// Why an operation failed inside.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Fault {
    /// SQLite said so.
    #[error(transparent)]
    Sqlite(#[from] rusqlite::Error),
    /// A document does not parse.
    #[error("{0}")]
    Unreadable(String),
    /// An operation panicked: a defect here, reported as an outage, so that the writer lives on.
    #[error("the operation panicked")]
    Panicked,
}

impl Fault {
    /// What the caller is told.
    pub(crate) fn told(&self) -> StoreError {
        match self {
            Self::Unreadable(what) => StoreError::Corrupt(what.clone()),
            Self::Panicked => StoreError::Unavailable(self.to_string()),
            Self::Sqlite(error) => match error {
                rusqlite::Error::SqliteFailure(cause, _)
                    if matches!(cause.code, ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) =>
                {
                    StoreError::Corrupt(error.to_string())
                }
                rusqlite::Error::FromSqlConversionFailure(..)
                | rusqlite::Error::IntegralValueOutOfRange(..)
                | rusqlite::Error::InvalidColumnType(..)
                | rusqlite::Error::Utf8Error(..) => StoreError::Corrupt(error.to_string()),
                _ => StoreError::Unavailable(error.to_string()),
            },
        }
    }
}

impl From<Fault> for OpenError {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Sqlite(error) => Self::Sqlite(error),
            other => Self::Unreadable(other.to_string()),
        }
    }
}

/// What every operation says once the writer is gone.
pub(crate) fn closed() -> StoreError {
    StoreError::Unavailable("it is closed".to_owned())
}
