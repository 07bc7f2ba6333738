//! What the host keeps mail in: its own directory, or an AWS-compatible endpoint.

use std::path::PathBuf;

use posthaste_aws::{Aws, Clients, Names, Options};
use posthaste_embedded::Embedded;
use posthaste_pipeline::ambient::Ambient;
use posthaste_pipeline::stores::{StoreError, Stores};

use super::open_store;
use crate::failure::Failure;

/// What everything on an endpoint is called, or begins with.
const PREFIX: &str = "posthaste-dev";

/// Where mail is to be kept.
#[derive(Debug, Clone)]
pub(crate) enum Place {
    /// In this directory.
    State(PathBuf),
    /// At this endpoint, in the account of the environment.
    Aws(String),
}

/// A store at work.
#[derive(Clone)]
pub(super) enum Backing {
    Embedded(Embedded),
    Aws(Aws),
}

impl Place {
    /// Opens it, and makes what is not there.
    pub(super) async fn open(&self, ambient: &Ambient) -> Result<Backing, Failure> {
        match self {
            Self::State(directory) => Ok(Backing::Embedded(open_store(directory).await?)),
            Self::Aws(endpoint) => {
                let clients = Clients::connect(Some(endpoint)).await;
                let names = Names::provision(&clients, PREFIX)
                    .await
                    .map_err(|error| Failure::failed(format!("--aws-endpoint {endpoint}: {error}")))?;
                Ok(Backing::Aws(Aws::new(clients, names, ambient.clone(), Options::default())))
            }
        }
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::State(directory) => write!(f, "{}", directory.display()),
            Self::Aws(endpoint) => f.write_str(endpoint),
        }
    }
}

impl Backing {
    pub(super) fn stores(&self) -> Stores {
        match self {
            Self::Embedded(store) => store.stores(),
            Self::Aws(aws) => aws.stores(),
        }
    }

    /// Leaves everything in order.
    pub(super) async fn close(&self) -> Result<(), StoreError> {
        match self {
            Self::Embedded(store) => store.close().await,
            Self::Aws(_) => Ok(()),
        }
    }
}
