//! What becomes of records, with a lane and deliveries that are made up; and a delivery that is not.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use aws_lambda_events::sqs::SqsMessage;
use posthaste_embedded::Embedded;
use posthaste_mail::{Domain, JobId, Lane as JobLane, MessageId, PartKey, Tenant};
use posthaste_pipeline::ambient::Ambient;
use posthaste_pipeline::deliver::Network;
use posthaste_pipeline::intake::{self, Mail, MailRequest, RequestHash, Submission};
use posthaste_pipeline::row::Realm;
use posthaste_pipeline::stores::StoreError;

use posthaste_policy::Policy;

use super::*;
use crate::sandbox::Receiver;

const NOW: Timestamp = Timestamp(1_800_000_000_000);

fn job(name: &str) -> Job {
    Job {
        id: JobId::from_random([name.len() as u8; 16]),
        key: PartKey { message: MessageId::derived(&[name.as_bytes()]), part: 0 },
        seq: 1,
        tenant: Tenant::default_tenant(),
        lane: JobLane::Transactional,
        domain: Domain::parse(&format!("{name}.example")).ok(),
        realm: Realm::World,
        tls: None,
        due: NOW,
        expires: NOW.plus(Duration::from_secs(3_600)),
        recipients: 1,
        sender: None,
        ticket: None,
        track: posthaste_pipeline::row::Track::Own,
    }
}

fn record(name: &str, times: u32) -> SqsMessage {
    message(name, times, &serde_json::to_string(&job(name)).unwrap())
}

fn message(name: &str, times: u32, body: &str) -> SqsMessage {
    let mut message = SqsMessage::default();
    message.message_id = Some(name.to_owned());
    message.receipt_handle = Some(format!("receipt of {name}"));
    message.body = Some(body.to_owned());
    message.attributes = HashMap::from([("ApproximateReceiveCount".to_owned(), times.to_string())]);
    message
}

/// What was done with records, in order, each with the name of its job.
#[derive(Default)]
struct Told {
    done: Mutex<Vec<String>>,
    broken: bool,
}

impl Told {
    fn note(&self, what: String) -> Result<(), StoreError> {
        if self.broken {
            return Err(StoreError::Unavailable("down".to_owned()));
        }
        self.done.lock().unwrap().push(what);
        Ok(())
    }

    fn done(&self) -> Vec<String> {
        self.done.lock().unwrap().clone()
    }
}

fn name(job: &Job) -> &str {
    job.domain.as_ref().unwrap().as_str().trim_end_matches(".example")
}

#[async_trait]
impl Lane for Told {
    async fn later(&self, job: Job) -> Result<(), StoreError> {
        self.note(format!("{} later by {} s", name(&job), job.due.since(NOW).as_secs()))
    }
    async fn bury(&self, job: &Job, reason: &str) -> Result<(), StoreError> {
        self.note(format!("{} buried: {reason}", name(job)))
    }
    async fn set_aside(&self, body: &str, _reason: &str) -> Result<(), StoreError> {
        self.note(format!("{body} set aside"))
    }
}

fn plenty() -> Times {
    times(NOW, NOW.plus(Duration::from_secs(900)), Duration::from_secs(600))
}

async fn deliver(job: Job) -> Disposition {
    match name(&job) {
        "waits" => Disposition::KeepUntil(NOW.plus(Duration::from_secs(7))),
        "hopeless" => Disposition::Dead("no hope".to_owned()),
        "breaks" => panic!("as it was asked to"),
        _ => Disposition::Done,
    }
}

fn back(name: &str, after: Duration) -> Back {
    Back { id: name.to_owned(), receipt: format!("receipt of {name}"), after }
}

#[tokio::test]
async fn each_record_is_given_back_as_the_use_case_says() {
    let check = async |records: Vec<SqsMessage>, done: &[&str], came_back: &[Back]| {
        let told = Told::default();
        assert_eq!(run(&told, Batch::read(records), plenty(), || NOW, deliver).await, came_back);
        assert_eq!(told.done(), done);
    };
    check(vec![record("fine", 1)], &[], &[]).await;
    check(vec![record("waits", 1)], &["waits later by 7 s"], &[]).await;
    check(vec![record("hopeless", 3)], &["hopeless buried: no hope"], &[]).await;
    check(vec![message("junk", 1, "no job")], &["no job set aside"], &[]).await;
    check(
        vec![record("breaks", 1), record("waits", 1), record("fine", 1)],
        &["waits later by 7 s"],
        &[back("breaks", AFTER_FAILURE)],
    )
    .await;
}

#[tokio::test]
async fn what_cannot_be_given_back_comes_again() {
    let told = Told { broken: true, ..Told::default() };
    let records = vec![record("fine", 1), record("waits", 1), record("hopeless", 1), message("junk", 1, "?")];
    let came_back = run(&told, Batch::read(records), plenty(), || NOW, deliver).await;
    assert_eq!(came_back, ["junk", "waits", "hopeless"].map(|name| back(name, AFTER_FAILURE)));
}

/// Begins and ends of deliveries, each of which lets the others go on meanwhile.
#[tokio::test]
async fn what_was_received_before_goes_alone_after_the_rest() {
    let seen = Mutex::new(Vec::new());
    let noting = |job: Job| {
        let seen = &seen;
        async move {
            seen.lock().unwrap().push(format!("{} begins", name(&job)));
            tokio::task::yield_now().await;
            seen.lock().unwrap().push(format!("{} ends", name(&job)));
            Disposition::Done
        }
    };
    let records = vec![record("x", 2), record("a", 1), record("y", 5), record("b", 1)];
    let came_back = run(&Told::default(), Batch::read(records), plenty(), || NOW, noting).await;
    assert_eq!(came_back, []);
    let expected = ["a begins", "b begins", "a ends", "b ends", "x begins", "x ends", "y begins", "y ends"];
    assert_eq!(*seen.lock().unwrap(), expected);
}

#[tokio::test]
async fn what_goes_alone_is_not_begun_too_late() {
    let times = plenty();
    let records = vec![record("waits", 1), record("x", 2)];
    let told = Told::default();
    let came_back = run(&told, Batch::read(records), times, || times.begun_before, deliver).await;
    assert_eq!(came_back, [back("x", Duration::ZERO)]);
    assert_eq!(told.done(), ["waits later by 7 s"]);
}

#[tokio::test]
async fn no_connection_is_left_when_the_jobs_have_ended() {
    let directory = tempfile::tempdir().unwrap();
    let store = Embedded::open(directory.path(), posthaste_embedded::Options::default()).unwrap();
    let ambient = Ambient::system(Policy::sandbox());
    let receiver = Receiver::start(&ambient).await.unwrap();
    let network = Network { sandbox: Some(receiver.ways()), secrets: Arc::new(|_| None) };
    let deliverer = Deliverer::new(ambient.clone(), store.stores(), network).await.unwrap();
    let json = br#"{"from":"a@b.example","to":["success@c.example","defer-1@c.example"],"text":"t"}"#;
    let mail = Mail::Letter(Box::new(MailRequest::read(json).unwrap()));
    let submission = Submission { key: None, hash: RequestHash::of(&[json]), mail };
    let accepted =
        intake::accept(&ambient, &store.stores(), &Tenant::default_tenant(), vec![submission]).await;
    assert!(accepted.iter().all(Result::is_ok), "{accepted:?}");
    let received =
        store.receive(posthaste_pipeline::row::Queue::Transactional, ambient.now(), 10).await.unwrap();
    assert_eq!(received.len(), 1);
    for one in received {
        let deadline = ambient.now().plus(Duration::from_secs(900));
        assert_eq!(deliverer.deliver(one.job, deadline).await, Disposition::Done);
    }
    // A worker's own patience is twice as long.
    let patience = ambient.policy.get().smtp.idle_timeout / 2;
    tokio::time::timeout(patience, deliverer.hang_up()).await.expect("nobody waits for more work");
    let [summary] = &receiver.take()[..] else { panic!("one message was received") };
    assert_eq!(summary.rcpt_to.len(), 1);
    assert!(summary.xid.is_some(), "it is known whose it is");
    // And again, with nothing to hang up.
    deliverer.hang_up().await;
    store.close().await.unwrap();
}
