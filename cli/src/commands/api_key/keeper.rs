//! Where keys are kept: behind the API; in the directory of a stack that is not running, or in the table of a deployed
//! one, where the first one is made. All give the API's answers.

use std::path::Path;

use posthaste_aws::{Aws, Clients, Names, Options};
use posthaste_embedded::Embedded;
use posthaste_mail::{KeyId, Tenant};
use posthaste_pipeline::access::{KeyRecord, Scope, make_key};
use posthaste_pipeline::ambient::Ambient;
use posthaste_pipeline::stores::Directory;
use posthaste_policy::Policy;
use reqwest::Method;
use serde_json::{Value, json};

use crate::client::{Api, ApiError, Body, segment};
use crate::failure::Failure;
use crate::host::open_store;

/// Keys asked for at once.
const PAGE: usize = 500;

/// Where keys are kept.
pub(super) enum Keeper {
    /// Behind the API.
    Api(Api),
    /// In a directory that nobody has now.
    State(Embedded),
    /// In the table of a deployed stack, for whoever may write to it.
    Table(Aws),
}

/// A key to be made.
pub(super) struct Wanted {
    /// Whose; none: the caller's own, or an operator's.
    pub(super) tenant: Option<Tenant>,
    /// What for.
    pub(super) scopes: Vec<Scope>,
    /// What people call it.
    pub(super) name: String,
}

impl Keeper {
    /// Takes the directory; refused while a stack has it.
    pub(super) async fn open(state: &Path) -> Result<Self, Failure> {
        Ok(Self::State(open_store(state).await?))
    }

    /// The table of a deployed stack, in the account and region of the environment.
    pub(super) async fn table(name: &str) -> Self {
        let ambient = Ambient::system(Policy::sandbox());
        Self::Table(Aws::new(
            Clients::connect(None).await,
            Names::of_table(name),
            ambient,
            Options::default(),
        ))
    }

    /// Where keys are kept beside the API.
    fn directory(&self) -> Option<&dyn Directory> {
        match self {
            Self::Api(_) => None,
            Self::State(store) => Some(store),
            Self::Table(aws) => Some(aws),
        }
    }

    /// Makes one; the answer has it in clear.
    pub(super) async fn create(&self, wanted: Wanted) -> Result<Value, Failure> {
        let Wanted { tenant, scopes, name } = wanted;
        match self {
            Self::Api(api) => {
                let body = json!({"tenant": tenant, "scopes": scopes, "name": name});
                Ok(api.ask(Method::POST, "v1/api-keys", &[], &[], Body::Json(&body)).await?)
            }
            Self::State(_) | Self::Table(_) => {
                let is_operator = scopes.contains(&Scope::Operator);
                let tenant = tenant.or_else(|| (!is_operator).then(Tenant::default_tenant));
                let (record, key) = make_key(&Ambient::system(Policy::sandbox()), tenant, scopes, name);
                if let Some(directory) = self.directory() {
                    directory.put(record.clone()).await.map_err(Failure::failed)?;
                }
                let mut answer = shown(&record);
                answer["key"] = json!(key.reveal());
                Ok(answer)
            }
        }
    }

    /// All of them, or one tenant's.
    pub(super) async fn list(&self, tenant: Option<&Tenant>) -> Result<Vec<Value>, Failure> {
        let (mut all, mut after) = (Vec::new(), None);
        loop {
            let (page, next) = match self {
                Self::Api(api) => page(api, tenant, after.as_ref()).await?,
                Self::State(_) | Self::Table(_) => {
                    let keys = match self.directory() {
                        Some(directory) => directory.list(tenant, after.as_ref(), PAGE).await,
                        None => Ok(Vec::new()),
                    };
                    let keys = keys.map_err(Failure::failed)?;
                    let next = keys.last().filter(|_| keys.len() == PAGE).map(|last| last.id.clone());
                    (keys.iter().map(shown).collect(), next)
                }
            };
            all.extend(page);
            if next.is_none() {
                return Ok(all);
            }
            after = next;
        }
    }

    /// Removes one; says whether it was there.
    pub(super) async fn revoke(&self, id: &KeyId) -> Result<bool, Failure> {
        match self {
            Self::Api(api) => {
                let path = format!("v1/api-keys/{}", segment(id.as_str()));
                match api.ask(Method::DELETE, &path, &[], &[], Body::Empty).await {
                    Ok(_) => Ok(true),
                    Err(error) if error.is_absent() => Ok(false),
                    Err(error) => Err(error.into()),
                }
            }
            Self::State(store) => Directory::revoke(store, None, id).await.map_err(Failure::failed),
            Self::Table(aws) => Directory::revoke(aws, None, id).await.map_err(Failure::failed),
        }
    }

    /// Lets go of the directory.
    pub(super) async fn close(self) -> Result<(), Failure> {
        match self {
            Self::Api(_) | Self::Table(_) => Ok(()),
            Self::State(store) => store.close().await.map_err(Failure::failed),
        }
    }
}

/// A page of the API's, and where the next one begins.
async fn page(
    api: &Api,
    tenant: Option<&Tenant>,
    after: Option<&KeyId>,
) -> Result<(Vec<Value>, Option<KeyId>), ApiError> {
    let limit = PAGE.to_string();
    let mut query = vec![("limit", limit.as_str())];
    query.extend(tenant.map(|tenant| ("tenant", tenant.as_str())));
    query.extend(after.map(|after| ("after", after.as_str())));
    let mut answer = api.get("v1/api-keys", &query).await?;
    let next = answer["next"].as_str().and_then(KeyId::parse);
    match answer["api_keys"].take() {
        Value::Array(keys) => Ok((keys, next)),
        _ => Err(ApiError::NotTheApi(format!("{} answers, but not as the API does", api.base()))),
    }
}

/// A key as the API shows it: never its hash.
fn shown(record: &KeyRecord) -> Value {
    let KeyRecord { id, tenant, scopes, name, created_at, .. } = record;
    let mut shown = json!({"id": id, "name": name, "scopes": scopes, "created_at": created_at.rfc3339()});
    if let Some(tenant) = tenant {
        shown["tenant"] = json!(tenant);
    }
    shown
}
