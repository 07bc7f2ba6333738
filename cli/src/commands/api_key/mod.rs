//! `api-key`: who may ask the API. A key is shown once, where it is made; only a hash of it is kept.

mod keeper;

use std::io::Write;
use std::path::PathBuf;

use anstyle::Style;
use posthaste_mail::{KeyId, Tenant};
use posthaste_pipeline::access::Scope;
use serde::Deserialize;
use serde_json::Value;

use self::keeper::{Keeper, Wanted};
use crate::client::ApiArgs;
use crate::client::view::moment;
use crate::commands::trace::now;
use crate::failure::{Failure, Outcome};
use crate::screen::style::{self, paint};
use crate::screen::{Align, Column, Form, Output, Table, ago, clean, print_json};

/// API keys: who may ask, for which tenant, and what for.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "A key belongs to a tenant and has scopes: send, read, admin. An operator's belongs to none. The API \
makes keys for whoever has `admin` (its own tenant's) or is an operator (anybody's); the first one is made with \
--state, in the directory of a stack that is not running, or with --table, in the table of a deployed one.

Examples:
  posthaste api-key create --operator --state .posthaste
  posthaste api-key create --operator --table posthaste-Table-1ABC
  posthaste api-key create --tenant acme --scope send --scope read --name shop
  posthaste api-key list
  posthaste api-key revoke 0w3ge1r70w3ge1r70w3ge1r70w"
)]
pub(crate) struct Args {
    #[command(subcommand)]
    what: What,
    /// Work in this directory of a stack that is not running, without its API
    #[arg(long, value_name = "DIR", global = true)]
    state: Option<PathBuf>,
    /// Work in this DynamoDB table of a deployed stack, without its API
    #[arg(long, value_name = "NAME", global = true, conflicts_with = "state")]
    table: Option<String>,
    #[command(flatten)]
    api: ApiArgs,
    #[command(flatten)]
    output: Output,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// Make a key and show it, once
    #[command(after_help = "Prints the key alone on its line; everything else about it goes to stderr.

Example:
  posthaste api-key create --tenant acme --scope send --name shop")]
    Create(Create),
    /// The keys there are, without their secrets
    #[command(after_help = "Example:
  posthaste api-key list --tenant acme")]
    List {
        /// Only this tenant's
        #[arg(long, value_name = "TENANT", value_parser = tenant)]
        tenant: Option<Tenant>,
    },
    /// Take a key out of use, for good
    #[command(after_help = "It is refused everywhere within 30 seconds.

Example:
  posthaste api-key revoke 0w3ge1r70w3ge1r70w3ge1r70w")]
    Revoke {
        /// The id, which stands in the key: ph_<id>_…
        #[arg(value_name = "ID", value_parser = key_id)]
        id: KeyId,
    },
}

#[derive(Debug, clap::Args)]
struct Create {
    /// What it is good for: send, read, admin; repeat it. Or operator, alone
    #[arg(long = "scope", value_name = "SCOPE", value_parser = scope, required_unless_present = "operator")]
    scopes: Vec<Scope>,
    /// Whose it is; the caller's own without it
    #[arg(long, value_name = "TENANT", value_parser = tenant)]
    tenant: Option<Tenant>,
    /// An operator's: dead letters, sites, everybody's keys; no tenant's mail
    #[arg(long, conflicts_with_all = ["scopes", "tenant"])]
    operator: bool,
    /// What people call it
    #[arg(long, value_name = "TEXT", default_value = "")]
    name: String,
}

fn tenant(text: &str) -> Result<Tenant, String> {
    Tenant::parse(text).ok_or_else(|| "expected 1 to 64 of a-z, 0-9, - and _".to_owned())
}

fn scope(text: &str) -> Result<Scope, String> {
    Scope::parse(text).ok_or_else(|| "expected send, read or admin, or operator alone".to_owned())
}

/// The id, or the whole key it stands in.
fn key_id(text: &str) -> Result<KeyId, String> {
    let id = text.strip_prefix("ph_").and_then(|rest| rest.split('_').next()).unwrap_or(text);
    KeyId::parse(id).ok_or_else(|| "expected the 26 characters of a key's id".to_owned())
}

/// Runs it.
pub(crate) async fn run(args: Args) -> Outcome {
    let form = args.output.form();
    let keeper = match (&args.state, &args.table) {
        (Some(state), _) => Keeper::open(state).await?,
        (None, Some(table)) => Keeper::table(table).await,
        (None, None) => Keeper::Api(args.api.open()?),
    };
    let outcome = match args.what {
        What::Create(create) => self::create(&keeper, create, form).await,
        What::List { tenant } => list(&keeper, tenant.as_ref(), form).await,
        What::Revoke { id } => revoke(&keeper, &id, form).await,
    };
    keeper.close().await.and(outcome)
}

async fn create(keeper: &Keeper, create: Create, form: Form) -> Outcome {
    let scopes = if create.operator { vec![Scope::Operator] } else { create.scopes };
    if scopes.contains(&Scope::Operator) && (scopes.len() > 1 || create.tenant.is_some()) {
        return Err(Failure::input(
            "--scope operator: an operator's key has no other scope and no tenant".to_owned(),
        ));
    }
    let made = keeper.create(Wanted { tenant: create.tenant, scopes, name: create.name }).await?;
    if form == Form::Json {
        print_json(&made)?;
        return Ok(());
    }
    let Key { tenant, scopes, .. } = Key::deserialize(&made).unwrap_or_default();
    let whose = tenant.map_or("an operator's".to_owned(), |tenant| format!("of tenant {}", clean(&tenant)));
    let told = format!("{whose}: {}; it is not shown again", clean(&scopes.join(", ")));
    writeln!(anstream::stderr(), "{}", paint(style::FAINT, told))?;
    writeln!(anstream::stdout(), "{}", clean(made["key"].as_str().unwrap_or_default()))?;
    Ok(())
}

async fn list(keeper: &Keeper, tenant: Option<&Tenant>, form: Form) -> Outcome {
    let keys = keeper.list(tenant).await?;
    if form == Form::Json {
        print_json(&Value::Array(keys))?;
        return Ok(());
    }
    let column = |title, align| Column { title, align };
    let mut table = Table::new(&[
        column("ID", Align::Left),
        column("TENANT", Align::Elastic),
        column("SCOPES", Align::Left),
        column("SINCE", Align::Left),
        column("NAME", Align::Elastic),
    ]);
    let now = now();
    for key in keys.iter().map(|key| Key::deserialize(key).unwrap_or_default()) {
        let cell = |text: String| (text, Style::new());
        table.row(vec![
            (clean(&key.id), style::STRONG),
            cell(clean(key.tenant.as_deref().unwrap_or("(operator)"))),
            cell(clean(&key.scopes.join(","))),
            cell(key.created_at.map(|at| ago(at, now)).unwrap_or_default()),
            (clean(&key.name), style::FAINT),
        ]);
    }
    table.print(&mut anstream::stdout().lock())?;
    Ok(())
}

async fn revoke(keeper: &Keeper, id: &KeyId, form: Form) -> Outcome {
    if !keeper.revoke(id).await? {
        return Err(Failure::failed(format!("there is no key {id}")));
    }
    match form {
        Form::Json => print_json(&serde_json::json!({"id": id, "revoked": true}))?,
        Form::People => writeln!(anstream::stdout(), "{id}  {}", paint(style::GOOD, "revoked"))?,
    }
    Ok(())
}

/// A key, as far as it is shown.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Key {
    id: String,
    name: String,
    tenant: Option<String>,
    scopes: Vec<String>,
    #[serde(deserialize_with = "moment")]
    created_at: Option<posthaste_mail::Timestamp>,
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        _create: Create,
    }

    #[test]
    fn a_key_is_a_tenants_with_scopes_or_an_operators() {
        let check = |line: &str, expected: bool| {
            let parsed = Line::try_parse_from(line.split(' '));
            assert_eq!(parsed.is_ok(), expected, "{line}");
        };
        check("create --scope send", true);
        check("create --scope send --scope read --tenant acme", true);
        check("create --operator", true);
        check("create", false);
        check("create --scope operator", true);
        check("create --scope everything", false);
        check("create --operator --tenant acme", false);
        check("create --operator --scope send", false);
        check("create --scope send --tenant Acme", false);
    }

    #[test]
    fn a_key_is_revoked_by_its_id_or_by_itself() {
        let id = "0w3ge1r70w3ge1r70w3ge1r70w";
        let check = |text: &str, expected: bool| {
            assert_eq!(key_id(text).is_ok_and(|read| read.as_str() == id), expected, "{text}");
        };
        check(id, true);
        check(&format!("ph_{id}_secret"), true);
        check("ph_", false);
        check("shop", false);
    }
}
