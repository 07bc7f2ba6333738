//! The three ways mail comes: now and then, steadily one by one, and in batches. Each goes through the use cases as the
//! functions do: intake accepts, the queue's poller receives and acknowledges, deliver delivers what it was given.

use std::error::Error;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures::future::{join_all, try_join_all};
use posthaste_aws::calls::Tally;
use posthaste_aws::counts::Counts;
use posthaste_aws::emf::{Invocation, lines};
use posthaste_aws::{Aws, Clients, Names, Options, Received};
use posthaste_mail::{Tenant, Timestamp};
use posthaste_pipeline::ambient::Ambient;
use posthaste_pipeline::deliver::{Deliverer, Disposition, Network};
use posthaste_pipeline::intake::{self, Key, Mail, RawRequest, RequestHash, Submission};
use posthaste_pipeline::row::Job;
use posthaste_policy::Policy;

/// Octets of a message.
const MESSAGE_OCTETS: usize = 10 * 1024;
/// How long an invocation of deliver may take, as in the template: what leaves no time for the final reply is not begun.
const INVOCATION: Duration = Duration::from_secs(900);
/// Callers at once where mail comes steadily, each served by an environment of its own.
const CALLERS: u64 = 8;
/// Messages of a batch.
pub const A_BATCH: u64 = 100;

/// A measurement that cannot go on.
pub type Failed = Box<dyn Error + Send + Sync>;

/// What one function did.
#[derive(Debug, Default)]
pub struct Did {
    /// What it took in, or brought to its end.
    pub messages: u64,
    /// Of a poller: receives that brought something, and so calls of its function.
    pub invocations: u64,
    /// Of the lines it wrote about itself.
    pub line_octets: u64,
    /// What it asked of AWS.
    pub calls: Tally,
}

impl Did {
    fn add(&mut self, other: &Self) {
        self.messages += other.messages;
        self.invocations += other.invocations;
        self.line_octets += other.line_octets;
        self.calls.add(&other.calls);
    }
}

/// What was done one way.
#[derive(Debug, Default)]
pub struct Done {
    /// The intake function.
    pub intake: Did,
    /// The deliver function.
    pub deliver: Did,
    /// What AWS asks of the queue for the deliver function.
    pub poller: Did,
}

/// One environment of a function, or of a queue's poller.
struct Function {
    name: &'static str,
    aws: Aws,
    ambient: Ambient,
    counts: Arc<Counts>,
}

impl Function {
    async fn start(name: &'static str, deployment: &Deployment) -> Self {
        let clients = Clients::connect(Some(&deployment.endpoint)).await;
        let counts = Arc::new(Counts::default());
        let ambient = deployment.ambient.clone().metered(counts.clone());
        let aws = Aws::new(clients, deployment.names.clone(), ambient.clone(), Options::default());
        Self { name, aws, ambient, counts }
    }

    /// Ends an invocation: its line is written.
    fn end(&self, messages: u64) -> Did {
        let calls = self.aws.clients().calls.take();
        let invocation = Invocation { stack: "posthaste", function: self.name, at: self.ambient.now() };
        let written = lines(&invocation, &self.counts.take(), &calls, None);
        let line_octets = written.iter().map(|line| line.len() as u64 + 1).sum();
        Did { messages, invocations: 1, line_octets, calls }
    }
}

/// A deployment in one process.
pub struct Deployment {
    pub endpoint: String,
    pub names: Names,
    pub ambient: Ambient,
    /// Makes this run's keys its own.
    pub run: String,
}

impl Deployment {
    /// One call of the intake function.
    async fn accept(&self, function: &Function, first: u64, count: u64) -> Result<Did, Failed> {
        let submissions = (first..first + count).map(|nth| submission(&self.run, nth)).collect();
        let tenant = Tenant::default_tenant();
        let stores = function.aws.stores();
        for answer in intake::accept(&function.ambient, &stores, &tenant, submissions).await {
            answer?;
        }
        Ok(function.end(count))
    }

    /// Receives until the queue brings something, calls the deliver function with it, and acknowledges.
    async fn deliver(
        &self,
        poller: &Function,
        function: &Function,
        deliverer: &Deliverer,
        done: &mut Done,
    ) -> Result<(), Failed> {
        let queue = &self.names.transactional;
        let received = loop {
            let received = poller.aws.receive(queue, Duration::from_secs(20)).await?;
            if !received.is_empty() {
                break received;
            }
        };
        let deadline = self.ambient.now().plus(INVOCATION);
        let ended = join_all(received.iter().map(|one| deliver_one(deliverer, one, deadline))).await;
        let receipts: Vec<String> = ended.into_iter().collect::<Result<_, _>>()?;
        // As the function does: it may be frozen from here on, and holds no connection meanwhile.
        deliverer.hang_up().await;
        let messages = receipts.len() as u64;
        done.deliver.add(&function.end(messages));
        poller.aws.acknowledge(queue, &receipts).await?;
        done.poller.add(&poller.end(messages));
        Ok(())
    }

    /// What is made once in a deployment's life is made: it is no message's cost.
    pub async fn warm(&self) -> Result<(), Failed> {
        deliverer(&Function::start("deliver", self).await).await.map(|_| ())
    }

    /// Each message meets functions that have done nothing yet: nothing is in a cache, nothing is shared.
    pub async fn sparse(&self, messages: u64) -> Result<Done, Failed> {
        let mut done = Done::default();
        let poller = Function::start("poller", self).await;
        for nth in 0..messages {
            let intake = Function::start("intake-http", self).await;
            done.intake.add(&self.accept(&intake, nth, 1).await?);
            let function = Function::start("deliver", self).await;
            let deliverer = deliverer(&function).await?;
            self.deliver(&poller, &function, &deliverer, &mut done).await?;
        }
        Ok(done)
    }

    /// Callers make calls of so many messages without a pause, while what is there is delivered.
    pub async fn steady(&self, messages: u64, a_call: u64) -> Result<Done, Failed> {
        let calls = messages.div_ceil(a_call);
        let accepting = try_join_all((0..CALLERS).map(|caller| async move {
            let (function, mut did) = (Function::start("intake-http", self).await, Did::default());
            for call in (caller..calls).step_by(usize::try_from(CALLERS)?) {
                did.add(&self.accept(&function, call * a_call, a_call).await?);
            }
            Ok::<_, Failed>(did)
        }));
        let delivering = async {
            let mut done = Done::default();
            let (poller, function) =
                (Function::start("poller", self).await, Function::start("deliver", self).await);
            let deliverer = deliverer(&function).await?;
            while done.deliver.messages < calls * a_call {
                self.deliver(&poller, &function, &deliverer, &mut done).await?;
            }
            Ok::<_, Failed>(done)
        };
        let (accepted, delivered) = futures::join!(accepting, delivering);
        let mut done = delivered?;
        accepted?.iter().for_each(|did| done.intake.add(did));
        Ok(done)
    }
}

/// Everything goes to one receiver, as fast as it takes it.
pub fn policy(receiver: SocketAddr) -> Result<Policy, Failed> {
    let text = format!(
        "[mta]\nhostname = \"mta.example.com\"\n\n[tls]\nmode = \"never\"\n\n\
         [auth]\nrequire_identity = false\nrequire_alignment = false\n\n\
         [[shaping]]\nmatch = \"default\"\nrate = \"unlimited\"\nconnections = 10\n\n\
         [[route]]\nmatch = \"default\"\nsmarthost = \"{receiver}\"\ntls = \"never\"\n"
    );
    Policy::parse(&text).map_err(|problems| format!("{problems:?}").into())
}

async fn deliverer(function: &Function) -> Result<Deliverer, Failed> {
    let network = Network { sandbox: None, secrets: Arc::new(|_| None) };
    Ok(Deliverer::new(function.ambient.clone(), function.aws.stores(), network).await?)
}

async fn deliver_one(
    deliverer: &Deliverer,
    received: &Received,
    deadline: Timestamp,
) -> Result<String, Failed> {
    let job: Job = serde_json::from_str(&received.body)?;
    match deliverer.deliver(job, deadline).await {
        Disposition::Done => Ok(received.receipt.clone()),
        other => Err(format!("a job was not done: {other:?}").into()),
    }
}

/// 10 KB to one recipient, under a key, as careful callers send; no tags, each of which is a write more.
fn submission(run: &str, nth: u64) -> Submission {
    let to = format!("reader{nth}@example.net");
    let mut message = format!(
        "From: Acme <hello@acme.example>\r\nTo: {to}\r\nSubject: Receipt {nth}\r\nMIME-Version: 1.0\r\n\
         Content-Type: text/plain; charset=utf-8\r\n\r\n"
    )
    .into_bytes();
    let line = b"The quick brown fox jumps over the lazy dog, and is told so by mail at once.\r\n";
    while message.len() + line.len() <= MESSAGE_OCTETS {
        message.extend_from_slice(line);
    }
    let request = RawRequest {
        mail_from: Some("bounces@acme.example".to_owned()),
        rcpt_to: vec![to],
        ..RawRequest::default()
    };
    Submission {
        key: Some(Key { key: format!("{run}-{nth}"), index: 0 }),
        hash: RequestHash::of(&[&message]),
        mail: Mail::Raw(Box::new(request), message.into()),
    }
}
