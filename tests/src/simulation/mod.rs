//! The whole of delivery but the wire, run from a seed: a store that behaves like AWS, several processes that die
//! between any two writes, two clocks, callers who cancel, retry and hold, and a modelled receiver. Time is the
//! runtime's own, paused, so that days pass in milliseconds and a seed always tells the same story.
//!
//! When the faults end everything must drain. `SEED=7 cargo test -p posthaste-tests simulation` runs one seed.

mod checks;
mod dice;
mod hand;
mod process;
mod receiver;
mod scenarios;
mod store;

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use posthaste_mail::{Address, JobId, Lane, MessageId, ReversePath, Tenant};
use posthaste_pipeline::row::{Content, Facts, Guarantee, HeaderCharset, Promise, Realm, Row};
use posthaste_pipeline::stores::{Acceptance, Hold, HoldAction, HoldOn};

use process::Stage;
use store::{Faults, World};

/// Seeds of every run.
const SEEDS: u64 = 64;
/// By then everything has long drained: twice the longest lifetime.
const DRAIN_MAX: Duration = Duration::from_secs(48 * 3600);

#[test]
fn whatever_fails_everything_accepted_ends_and_is_told() {
    let asked = std::env::var("SEED").ok().map(|seed| seed.parse::<u64>().expect("SEED is a number"));
    let seeds = asked.map_or(0..SEEDS, |seed| seed..seed + 1);
    for seed in seeds {
        let told = std::panic::catch_unwind(|| simulate(seed));
        if let Err(panic) = told {
            eprintln!("to see it again: SEED={seed} cargo test -p posthaste-tests simulation");
            std::panic::resume_unwind(panic);
        }
    }
}

fn simulate(seed: u64) {
    paused(play(seed));
}

/// Runs a story in which time passes only while everybody waits for it.
fn paused(story: impl Future<Output = ()>) {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(story);
}

async fn play(seed: u64) {
    // Some seeds are kind, so that what needs no fault to go wrong is seen by itself.
    let kinds = [
        Faults::default(),
        Faults { dies: 60, doubles: 300, ..Faults::default() },
        Faults { dies: 30, stalls: 60, refuses: 100, doubles: 500, loses: 0, forgets: 0 },
        Faults { dies: 100, stalls: 100, refuses: 300, doubles: 1000, loses: 200, forgets: 5000 },
        Faults { dies: 600, ..Faults::default() },
    ];
    let faults = kinds[usize::try_from(seed % kinds.len() as u64).unwrap()];
    let world = World::new(seed, faults);
    let stage = Stage::new(world.clone());
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..3 {
        let stage = stage.clone();
        tasks.spawn(stage.clone().live(move |hand, ambient| stage.clone().deliver(hand, ambient)));
    }
    for _ in 0..2 {
        let stage = stage.clone();
        tasks.spawn(stage.clone().live(move |hand, ambient| stage.clone().tick(hand, ambient)));
    }
    let accepted: Vec<Acceptance> = (0..6 + world.dice.below(8)).map(|n| submission(&world, n)).collect();
    for acceptance in &accepted {
        let (host, copy) = (stage.clone(), acceptance.clone());
        tasks.spawn(stage.clone().live(move |hand, _| host.clone().submit(hand, copy.clone())));
        if world.dice.hits(2000) {
            at_once(&stage, &world, acceptance, &mut tasks).await;
        }
        tokio::time::sleep(world.dice.seconds(0, 600)).await;
    }
    trouble(&stage, &accepted, &mut tasks).await;
    // The faults end.
    *world.faults.lock().unwrap() = Faults::default();
    let waited = tokio::time::Instant::now();
    // Whatever was sent when a hold was released has come by then.
    tokio::time::sleep(Duration::from_secs(1800)).await;
    if faults.loses == 0 {
        checks::nothing_is_held(&world);
    }
    while !checks::has_drained(&world, &accepted) {
        assert!(waited.elapsed() < DRAIN_MAX, "it does not drain: {:#?}", checks::what_is_left(&world));
        tokio::select! {
            () = tokio::time::sleep(Duration::from_secs(300)) => {}
            Some(ended) = tasks.join_next() => if let Err(error) = ended { std::panic::resume_unwind(error.into_panic()) },
        }
    }
    checks::all(&stage, &accepted);
}

/// A caller who changes his mind while the message is on its way in.
async fn at_once(
    stage: &Arc<Stage>,
    world: &Arc<World>,
    acceptance: &Acceptance,
    tasks: &mut tokio::task::JoinSet<()>,
) {
    tokio::time::sleep(world.dice.millis(0, 1500)).await;
    let id = acceptance.row.key.message.clone();
    if world.dice.hits(5000) {
        let stage = stage.clone();
        tasks.spawn(stage.clone().live(move |hand, ambient| stage.clone().cancel(hand, ambient, id.clone())));
        return;
    }
    let what = HoldOn::Message(id);
    world.kept().holds.push(Hold::new("short".to_owned(), None, what, world.now()));
    tokio::time::sleep(world.dice.millis(0, 3000)).await;
    release_first(world);
}

/// Releases the hold that is oldest; recalls stay.
fn release_first(world: &World) -> bool {
    let now = world.now();
    let mut kept = world.kept();
    let held = |hold: &&mut Hold| hold.released.is_none() && hold.action == HoldAction::Hold;
    let oldest = kept.holds.iter_mut().find(held);
    oldest.map(|hold| hold.released = Some(now)).is_some()
}

/// Callers for some hours: one in three messages is cancelled, one in four tried again, holds come and go.
async fn trouble(stage: &Arc<Stage>, accepted: &[Acceptance], tasks: &mut tokio::task::JoinSet<()>) {
    let world = &stage.world;
    for round in 0..12 {
        tokio::time::sleep(world.dice.seconds(60, 1500)).await;
        let id = world.dice.one_of(&(0..accepted.len()).collect::<Vec<_>>());
        let id = accepted[id].row.key.message.clone();
        match world.dice.below(6) {
            0 | 1 => {
                let stage = stage.clone();
                tasks.spawn(
                    stage.clone().live(move |hand, ambient| stage.clone().cancel(hand, ambient, id.clone())),
                );
            }
            2 => {
                let stage = stage.clone();
                tasks.spawn(
                    stage.clone().live(move |hand, ambient| stage.clone().retry(hand, ambient, id.clone())),
                );
            }
            3 => {
                let hold = Hold::new(format!("hold-{round}"), None, HoldOn::Message(id), world.now());
                let action = if world.dice.hits(2500) { HoldAction::Cancel } else { HoldAction::Hold };
                world.kept().holds.push(Hold { action, ..hold });
            }
            _ => {
                // While others park under it.
                release_first(world);
            }
        }
    }
    loop {
        if !release_first(world) {
            break;
        }
    }
}

/// A message as chance has it.
fn submission(world: &World, n: u64) -> Acceptance {
    let dice = &world.dice;
    let mut recipients: Vec<Address> = Vec::new();
    for _ in 0..1 + dice.below(5) {
        let mailbox = dice.one_of(&receiver::MAILBOXES);
        let domain = dice.one_of(&["x.example", "y.example", "z.example"]);
        let address = Address::parse(&format!("{mailbox}@{domain}")).unwrap();
        if !recipients.contains(&address) {
            recipients.push(address);
        }
    }
    let send_at = dice.hits(2500).then(|| world.now().plus(dice.seconds(1, 3 * 3600)));
    let facts = Facts {
        request_hash: n.to_string(),
        send_at,
        lifetime_ms: u64::try_from(dice.seconds(1800, 20 * 3600).as_millis()).unwrap(),
        guarantee: dice.one_of(&[Guarantee::AtLeastOnce, Guarantee::AtMostOnce]),
        ..facts(world)
    };
    acceptance(n, facts, &recipients)
}

/// A plain one to `a@x.example b@y.example …`.
fn letter_to(world: &World, recipients: &str) -> Acceptance {
    let recipients: Vec<Address> =
        recipients.split_whitespace().map(|text| Address::parse(text).unwrap()).collect();
    acceptance(0, facts(world), &recipients)
}

fn facts(world: &World) -> Facts {
    Facts {
        request_hash: String::new(),
        spool: "spool".to_owned(),
        size: 5,
        from: "sender@sender.example".to_owned(),
        subject: "simulated".to_owned(),
        reverse_path: ReversePath::Null,
        lane: Lane::Transactional,
        tags: BTreeMap::new(),
        accepted_at: world.now(),
        send_at: None,
        lifetime_ms: 4 * 24 * 3600 * 1000,
        guarantee: Guarantee::AtLeastOnce,
        tls: None,
        content: Content::SevenBit,
        header: HeaderCharset::Ascii,
        realm: Realm::World,
        sender: None,
        bounces: None,
        notices: posthaste_pipeline::row::Told::Unwanted,
    }
}

fn acceptance(n: u64, facts: Facts, recipients: &[Address]) -> Acceptance {
    let id = MessageId::derived(&[&n.to_be_bytes()]);
    let row = Row::accepted(id, Tenant::default_tenant(), facts, recipients);
    let job = (row.promise == Promise::Job).then(|| row.job(JobId::derived(&[b"first", &n.to_be_bytes()])));
    Acceptance { row, message: Bytes::from_static(b"hello"), job }
}
