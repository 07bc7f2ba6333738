//! Who is let in: on loopback whoever names it so, elsewhere whoever has a key.

use std::path::Path;
use std::sync::Arc;

use posthaste_api::{Authority, KeysNeeded, Names, OpenOnLoopback};
use posthaste_embedded::Embedded;
use posthaste_pipeline::ambient::Ambient;
use posthaste_pipeline::stores::Directory;

use super::{Access, Host};
use crate::failure::Failure;

/// Who may ask, and under which names.
pub(super) struct Door {
    pub(super) authority: Arc<dyn Authority>,
    pub(super) names: Names,
}

/// The door of a host. Where keys are needed there must be one: nobody could make the first from outside.
pub(super) async fn open(
    access: Access,
    host: &Host,
    ambient: &Ambient,
    state: &Path,
) -> Result<Door, Failure> {
    match access {
        Access::Open => Ok(Door { authority: Arc::new(OpenOnLoopback), names: Names::new(host.http, &[]) }),
        Access::Keys => {
            need_a_key(&host.store, state).await?;
            if !host.http.ip().is_loopback() {
                tracing::warn!(
                    http = %host.http,
                    "the API is served without TLS: keys and mail can be read on their way, unless a proxy is before it"
                );
            }
            let directory = Arc::new(host.store.clone());
            let authority = Arc::new(KeysNeeded::new(directory, ambient.clock.clone()));
            Ok(Door { authority, names: Names::any() })
        }
    }
}

async fn need_a_key(store: &Embedded, state: &Path) -> Result<(), Failure> {
    let keys = Directory::list(store, None, None, 1).await.map_err(Failure::failed)?;
    if !keys.is_empty() {
        return Ok(());
    }
    let state = state.display();
    Err(Failure::input(format!(
        "--state {state}: every request would need a key, and there is none: make one with `posthaste api-key create --operator --state {state}`"
    )))
}
