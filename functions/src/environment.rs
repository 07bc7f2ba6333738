//! What one execution environment keeps between invocations: clients with their connections to AWS, the policy, the
//! deliverer with its caches. Nothing is asked of AWS before the first invocation, so that a function starts at once, and
//! starts while AWS does not answer.

use std::collections::HashMap;
use std::sync::Arc;

use posthaste_aws::counts::Counts;
use posthaste_aws::{Aws, Clients, Options};
use posthaste_mail::{Tenant, Timestamp};
use posthaste_pipeline::ambient::Ambient;
use posthaste_pipeline::deliver::{Deliverer, Network, SetupError};
use posthaste_policy::Policy;
use posthaste_policy::relay::secret_variable;
use tokio::sync::OnceCell;

use crate::policy::{DeployedPolicy, PolicyError};
use crate::sandbox::{Receiver, ReceiverError};
use crate::settings::{Settings, SettingsError, variable};

/// Why an invocation cannot begin: its records come again.
#[derive(Debug, thiserror::Error)]
pub enum Unready {
    /// There is no policy to work by.
    #[error(transparent)]
    Policy(#[from] PolicyError),
    /// Deliveries cannot begin.
    #[error(transparent)]
    Deliveries(#[from] SetupError),
    /// The sandbox cannot.
    #[error(transparent)]
    Sandbox(#[from] ReceiverError),
}

/// See the module.
pub struct Environment {
    /// What it was told.
    pub settings: Settings,
    /// The stores.
    pub aws: Aws,
    /// Time, chance and the policy in force; counts into `counts`.
    pub ambient: Ambient,
    /// What this invocation has come to.
    pub counts: Arc<Counts>,
    policy: DeployedPolicy,
    deliveries: OnceCell<Deliveries>,
}

/// What delivers.
struct Deliveries {
    deliverer: Deliverer,
    sandbox: Receiver,
}

impl Environment {
    /// Reads the settings and makes clients.
    pub async fn prepare() -> Result<Self, SettingsError> {
        let settings = Settings::read(variable)?;
        // Until the deployed one is known nobody is told anything but an error.
        let counts = Arc::new(Counts::default());
        let ambient = Ambient::system(Policy::default()).metered(counts.clone());
        // The SDK reads AWS_ENDPOINT_URL by itself.
        let clients = Clients::connect(None).await;
        let aws = Aws::new(clients, settings.names.clone(), ambient.clone(), Options::default());
        let policy = DeployedPolicy::new(settings.policy.clone());
        Ok(Self { settings, aws, ambient, counts, policy, deliveries: OnceCell::new() })
    }

    /// Puts a changed policy in force; the first thing of each invocation.
    pub async fn refresh(&self) -> Result<(), PolicyError> {
        self.policy.refresh(&self.aws.clients().s3, &self.ambient.policy, self.now()).await
    }

    /// What delivers, made when it is first needed: it reads a secret from the table.
    pub async fn deliverer(&self) -> Result<&Deliverer, Unready> {
        let made = self.deliveries.get_or_try_init(|| async {
            let sandbox = Receiver::start(&self.ambient).await?;
            let network = Network { sandbox: Some(sandbox.ways()), secrets: Arc::new(secret) };
            let deliverer = Deliverer::new(self.ambient.clone(), self.aws.stores(), network).await?;
            Ok::<_, Unready>(Deliveries { deliverer, sandbox })
        });
        Ok(&made.await?.deliverer)
    }

    /// Keeps what the sandbox received in this invocation, by the tenants of its messages.
    pub async fn keep_sandboxed(&self, tenants: &HashMap<String, Tenant>) {
        if let Some(deliveries) = self.deliveries.get() {
            deliveries.sandbox.keep(&self.aws, &*self.ambient.chance, tenants).await;
            deliveries.sandbox.take_reports_in(&self.ambient, &self.aws.stores()).await;
        }
    }

    /// Now.
    pub fn now(&self) -> Timestamp {
        self.ambient.now()
    }
}

/// The secret of a route, from the environment: the template fills `POSTHASTE_SECRET_RELAY` from Secrets Manager by a
/// dynamic reference, so that no function needs the right to read secrets, and no start waits for one.
fn secret(name: &str) -> Option<String> {
    variable(&secret_variable(name))
}
