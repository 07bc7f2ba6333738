//! Clients of the services, with time-outs and retries that fit a function: a call that hangs is given up early
//! enough for the work to be given back in order.

use std::time::Duration;

use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_sdk_dynamodb::config::{Credentials, Region};

use crate::calls::Calls;

/// One try of one call. The services answer in milliseconds; what takes this long is lost.
const ATTEMPT: Duration = Duration::from_secs(4);
/// A call with all its tries.
const OPERATION: Duration = Duration::from_secs(14);
/// To be connected.
const CONNECT: Duration = Duration::from_secs(2);
/// Tries of one call. Throttles and time-outs are tried again with jitter that doubles.
const ATTEMPTS_MAX: u32 = 5;
/// The first pause at most.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
/// No pause is longer.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// The region of an endpoint that was named without one.
const EMULATED_REGION: Region = Region::from_static("us-east-1");
/// A receive waits for messages to come, up to 20 s.
const RECEIVE: Duration = Duration::from_secs(30);

/// One client a service; cheap to clone.
#[derive(Debug, Clone)]
pub struct Clients {
    /// The table.
    pub dynamodb: aws_sdk_dynamodb::Client,
    /// The bucket.
    pub s3: aws_sdk_s3::Client,
    /// The queues.
    pub sqs: aws_sdk_sqs::Client,
    /// The queues, when one waits for messages.
    pub sqs_waiting: aws_sdk_sqs::Client,
    /// Seals keys.
    pub kms: aws_sdk_kms::Client,
    /// The bus.
    pub eventbridge: aws_sdk_eventbridge::Client,
    /// Every call that was made.
    pub calls: Calls,
}

impl Clients {
    /// Clients of the account and region that the environment names; of another endpoint, where one is given or the
    /// environment has `AWS_ENDPOINT_URL`.
    pub async fn connect(endpoint: Option<&str>) -> Self {
        let calls = Calls::default();
        let mut loader = aws_config::from_env()
            .retry_config(
                RetryConfig::standard()
                    .with_max_attempts(ATTEMPTS_MAX)
                    .with_initial_backoff(FIRST_PAUSE)
                    .with_max_backoff(LONGEST_PAUSE),
            )
            .timeout_config(
                TimeoutConfig::builder()
                    .connect_timeout(CONNECT)
                    .operation_attempt_timeout(ATTEMPT)
                    .operation_timeout(OPERATION)
                    .build(),
            );
        if let Some(endpoint) = endpoint {
            loader = loader.endpoint_url(endpoint);
            // An emulator takes any region and any key, and must not wait for this machine to be asked who it is.
            let is_set = |names: [&str; 2]| names.iter().any(|name| std::env::var_os(name).is_some());
            if !is_set(["AWS_REGION", "AWS_DEFAULT_REGION"]) {
                loader = loader.region(EMULATED_REGION);
            }
            if !is_set(["AWS_ACCESS_KEY_ID", "AWS_PROFILE"]) {
                loader =
                    loader.credentials_provider(Credentials::new("test", "test", None, None, "emulator"));
            }
        }
        let config = loader.load().await;
        // Names of buckets in host names need a resolver that an emulator has not got.
        let path_style = config.endpoint_url().is_some();
        let waiting =
            TimeoutConfig::builder().connect_timeout(CONNECT).operation_attempt_timeout(RECEIVE).build();
        let counted = calls.interceptor();
        Self {
            dynamodb: aws_sdk_dynamodb::Client::from_conf(
                aws_sdk_dynamodb::config::Builder::from(&config).interceptor(counted.clone()).build(),
            ),
            s3: aws_sdk_s3::Client::from_conf(
                aws_sdk_s3::config::Builder::from(&config)
                    .force_path_style(path_style)
                    .interceptor(counted.clone())
                    .build(),
            ),
            sqs: aws_sdk_sqs::Client::from_conf(
                aws_sdk_sqs::config::Builder::from(&config).interceptor(counted.clone()).build(),
            ),
            sqs_waiting: aws_sdk_sqs::Client::from_conf(
                aws_sdk_sqs::config::Builder::from(&config)
                    .interceptor(counted.clone())
                    .timeout_config(waiting)
                    .build(),
            ),
            kms: aws_sdk_kms::Client::from_conf(
                aws_sdk_kms::config::Builder::from(&config).interceptor(counted.clone()).build(),
            ),
            eventbridge: aws_sdk_eventbridge::Client::from_conf(
                aws_sdk_eventbridge::config::Builder::from(&config).interceptor(counted).build(),
            ),
            calls,
        }
    }
}
