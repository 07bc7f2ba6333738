//! `demo`: the whole pipeline on this machine in one go, and what to make of it.
//!
//! It starts the local stack on a directory that goes away, sends a few messages through its HTTP API, and tells
//! what happens to them as the feed of events says. Each message has its end announced; the demo is a success only
//! if every one comes true.

mod cast;
mod stage;

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use posthaste_policy::Policy;
use reqwest::Method;
use serde_json::{Value, json};

use self::cast::{CAST, Role};
use self::stage::Stage;
use crate::client::view::Message;
use crate::client::{Api, Body, segment};
use crate::commands::select::text;
use crate::commands::trace;
use crate::failure::{Failure, Outcome};
use crate::host::{Access, Host, Setup, stop_asked};
use crate::log::{self, LogForm};
use crate::screen::{Form, Output, print_json};

/// Seconds where an operator would have minutes and hours, so that a whole life of a message can be watched.
const POLICY: &str = r#"
[sandbox]
all = true
[retry]
schedule = ["2s", "3s"]
jitter = 0.0
throttle = ["1s", "2s"]
"#;
/// The longest of its messages lives for 6 s; past this something is broken.
const TIME_MAX: Duration = Duration::from_secs(40);
/// How long the feed is waited for at once.
const WAIT_SECONDS: &str = "1";

/// The whole pipeline on this machine in one go.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Takes about ten seconds, needs no network and leaves nothing behind. Exits 0 only if every \
message ended as announced.

Example:
  posthaste demo"
)]
pub(crate) struct Args {
    #[command(flatten)]
    output: Output,
}

/// Runs it.
pub(crate) fn run(args: Args) -> Outcome {
    log::begin(LogForm::Text, "error");
    let form = args.output.form();
    super::host_runtime()?.block_on(async move {
        tokio::select! {
            played = play(form) => played,
            () = stop_asked() => Err(Failure::failed("the demo was stopped before its end")),
        }
    })
}

async fn play(form: Form) -> Outcome {
    let directory = tempfile::Builder::new().prefix("posthaste-demo-").tempdir();
    let directory = directory.map_err(|error| Failure::failed(format!("no temporary directory: {error}")))?;
    let policy = Policy::parse(POLICY).map_err(|problems| Failure::failed(format!("{problems:?}")))?;
    let free = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let state = directory.path().to_owned();
    let host = Host::start(Setup {
        policy,
        policy_file: None,
        http: free,
        access: Access::Open,
        sandbox_smtp: free,
        place: crate::host::Place::State(state),
    })
    .await?;
    let api = Api::local(host.http())?;
    let mut stage = Stage::open(form, &host)?;
    let played = tokio::time::timeout(TIME_MAX, act(&api, &mut stage)).await;
    let told = match played {
        Ok(Ok(ids)) => review(&api, &mut stage, &ids, form).await,
        Ok(Err(failure)) => Err(failure),
        Err(_) => {
            Err(Failure::failed(format!("not every message had its end after {} s", TIME_MAX.as_secs())))
        }
    };
    host.stop().await?;
    told
}

/// Sends each message in its turn and follows all to their ends; gives their ids.
async fn act(api: &Api, stage: &mut Stage) -> Result<Vec<String>, Failure> {
    let mut ids: Vec<Option<String>> = vec![None; CAST.len()];
    let mut ended = vec![false; CAST.len()];
    let mut cursor = "0".to_owned();
    loop {
        for (n, role) in CAST.iter().enumerate() {
            if ids[n].is_none() && role.after.is_none_or(|first| ended[first]) {
                let id = submit(api, role).await?;
                stage.accepted(n, &id)?;
                ids[n] = Some(id);
            }
        }
        if ended.iter().all(|ended| *ended) {
            return Ok(ids.into_iter().flatten().collect());
        }
        let page = api.get("v1/events", &[("after", &cursor), ("wait", WAIT_SECONDS)]).await?;
        for event in page["events"].as_array().into_iter().flatten() {
            let id = text(event, "message_id");
            let Some(n) = ids.iter().position(|known| known.as_deref() == Some(id)) else { continue };
            ended[n] |= stage.happened(n, event)?;
        }
        text(&page, "next").clone_into(&mut cursor);
    }
}

async fn submit(api: &Api, role: &Role) -> Result<String, Failure> {
    let mut message = json!({
        "from": "Acme <hello@acme.example>",
        "to": [role.to],
        "subject": role.subject,
        "text": "Hello,\n\nthis message was sent by the demo of Posthaste.\n",
        "tags": {"demo": role.tag},
    });
    if let Some(span) = role.expires_in {
        message["expires_in"] = json!(span);
    }
    let accepted = api.ask(Method::POST, "v1/messages", &[], &[], Body::Json(&message)).await?;
    Ok(text(&accepted, "id").to_owned())
}

/// Whether each message ended as announced, asked of the API once more.
async fn review(api: &Api, stage: &mut Stage, ids: &[String], form: Form) -> Outcome {
    let mut answers: Vec<Value> = Vec::new();
    let mut failed = 0;
    stage.curtain()?;
    for (n, (role, id)) in CAST.iter().zip(ids).enumerate() {
        let answer = api.get(&format!("v1/messages/{}", segment(id)), &[]).await?;
        let message: Message = trace::read(answer.clone(), api)?;
        let as_announced = role.is_played(&message);
        failed += usize::from(!as_announced);
        stage.ended(n, &message, as_announced)?;
        answers.push(json!({"announced": role.announced, "as_announced": as_announced, "message": answer}));
    }
    if form == Form::Json {
        print_json(&json!({"as_announced": failed == 0, "messages": answers}))?;
    }
    stage.close(failed)?;
    if failed == 0 { Ok(()) } else { Err(Failure::FailedTold) }
}
