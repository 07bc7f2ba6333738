//! A few connections that read beside the writer, each on a blocking thread for one short query at a time: a long
//! read would keep the WAL from beginning anew.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use posthaste_pipeline::stores::StoreError;
use rusqlite::{CachedStatement, Connection};
use tokio::sync::Semaphore;

use crate::fault::{Fault, closed};
use crate::{Shared, schema};

/// Queries at once; more wait. Each connection has pages of its own in memory.
const READERS_MAX: usize = 3;

/// The pool.
#[derive(Clone)]
pub(crate) struct Readers {
    permits: Arc<Semaphore>,
    pool: Arc<Mutex<Vec<Connection>>>,
    database: Arc<PathBuf>,
    shared: Arc<Shared>,
}

/// One reading connection, as queries see it.
pub(crate) struct Reading<'a> {
    pub(crate) connection: &'a Connection,
    /// What is in memory.
    pub(crate) shared: &'a Shared,
}

impl<'a> Reading<'a> {
    /// A prepared statement, prepared once a connection.
    pub(crate) fn statement(&self, sql: &'static str) -> Result<CachedStatement<'a>, Fault> {
        Ok(self.connection.prepare_cached(sql)?)
    }
}

impl Readers {
    pub(crate) fn new(database: &Path, shared: Arc<Shared>) -> Self {
        Self {
            permits: Arc::new(Semaphore::new(READERS_MAX)),
            pool: Arc::default(),
            database: Arc::new(database.to_owned()),
            shared,
        }
    }

    /// Runs a query of several statements on one snapshot.
    pub(crate) async fn query<T: Send + 'static>(
        &self,
        query: impl FnOnce(&Reading<'_>) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, StoreError> {
        let permit = self.permits.clone().acquire_owned().await.map_err(|_| closed())?;
        let readers = self.clone();
        let answer = tokio::task::spawn_blocking(move || {
            let answer = readers.query_here(query);
            drop(permit);
            answer
        });
        match answer.await {
            Ok(answer) => answer.map_err(|fault| fault.told()),
            Err(_) => Err(Fault::Panicked.told()),
        }
    }

    fn query_here<T>(&self, query: impl FnOnce(&Reading<'_>) -> Result<T, Fault>) -> Result<T, Fault> {
        let kept = self.pool.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let connection = match kept {
            Some(connection) => connection,
            None => {
                let connection = crate::connect(&self.database)?;
                schema::prepare_reader(&connection)?;
                connection
            }
        };
        connection.prepare_cached("BEGIN")?.execute([])?;
        let answer = query(&Reading { connection: &connection, shared: &self.shared });
        connection.prepare_cached("COMMIT")?.execute([])?;
        // A connection that failed is not used again: what ails it may be its own.
        if answer.is_ok() && !self.permits.is_closed() {
            self.pool.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
        }
        answer
    }

    /// Lets no query begin any more and closes what is not in use.
    pub(crate) fn close(&self) {
        self.permits.close();
        self.pool.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}
