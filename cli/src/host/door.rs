//! Who is let in: on loopback whoever names it so, elsewhere whoever has a key.

use std::sync::Arc;

use posthaste_api::{Authority, KeysNeeded, Names, OpenOnLoopback};
use posthaste_pipeline::ambient::Ambient;
use posthaste_pipeline::stores::Directory;

use super::{Access, Host, Place};
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
    place: &Place,
) -> Result<Door, Failure> {
    match access {
        Access::Open => Ok(Door { authority: Arc::new(OpenOnLoopback), names: Names::new(host.http, &[]) }),
        Access::Keys => {
            let directory = host.store.stores().directory;
            need_a_key(&*directory, place).await?;
            if !host.http.ip().is_loopback() {
                tracing::warn!(
                    http = %host.http,
                    "the API is served without TLS: keys and mail can be read on their way, unless a proxy is before it"
                );
            }
            let authority = Arc::new(KeysNeeded::new(directory, ambient.clock.clone()));
            Ok(Door { authority, names: Names::any() })
        }
    }
}

async fn need_a_key(directory: &dyn Directory, place: &Place) -> Result<(), Failure> {
    let keys = directory.list(None, None, 1).await.map_err(Failure::failed)?;
    if !keys.is_empty() {
        return Ok(());
    }
    let (option, way) = match place {
        Place::State(state) => ("--state", format!("--state {}", state.display())),
        Place::Aws(_) => ("--aws-endpoint", "--table posthaste-dev".to_owned()),
    };
    Err(Failure::input(format!(
        "{option} {place}: every request would need a key, and there is none: make one with `posthaste api-key create --operator {way}`"
    )))
}
