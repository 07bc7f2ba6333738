//! `keys`: a bare DKIM key pair, and the record to publish.

use std::io::Write;
use std::path::PathBuf;

use posthaste_auth::record::{Record, dkim_name, dkim_value};
use posthaste_auth::{Algorithm, PrivateKey};
use posthaste_mail::Domain;
use serde_json::json;

use crate::commands::domain;
use crate::failure::{Failure, Outcome};
use crate::screen::{Form, Output, print_json};

/// A bare DKIM key pair, and the record to publish.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "The private key goes to a file only its owner may read, or to stdout. Registered with
`posthaste identity add DOMAIN --key SELECTOR=FILE`, mail is signed with it.

Examples:
  posthaste keys --domain acme.example --selector s2026 --out s2026.pem
  posthaste keys --ed25519 --domain acme.example --selector e1 --json"
)]
pub(crate) struct Args {
    /// The domain of From
    #[arg(long, value_parser = domain, value_name = "DOMAIN", default_value = "example.com")]
    domain: Domain,
    /// Where the public key is published
    #[arg(long, value_name = "NAME", default_value = "s1")]
    selector: String,
    /// Ed25519 (RFC 8463) instead of RSA of 2048 bits
    #[arg(long)]
    ed25519: bool,
    /// Where the private key goes; a file that is there is not overwritten
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    #[command(flatten)]
    output: Output,
}

/// Runs it.
pub(crate) fn run(args: Args) -> Outcome {
    let algorithm = if args.ed25519 { Algorithm::Ed25519 } else { Algorithm::Rsa };
    let key = PrivateKey::make(algorithm).map_err(Failure::failed)?;
    let record = Record {
        name: dkim_name(&args.selector, &args.domain),
        kind: "TXT",
        value: dkim_value(key.public()),
        purpose: "the key that signatures are verified with",
        required: true,
    };
    if let Some(file) = &args.out {
        let mut options = std::fs::OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let written = options.open(file).and_then(|mut file| file.write_all(key.to_pem().as_bytes()));
        written.map_err(|error| Failure::file(file, &error))?;
    }
    let pem = args.out.is_none().then(|| key.to_pem());
    match args.output.form() {
        Form::Json => print_json(&json!({ "record": record, "private_key": pem }))?,
        Form::People => {
            let mut out = anstream::stdout().lock();
            if let Some(pem) = pem {
                writeln!(out, "{}", pem.trim_end())?;
            }
            writeln!(out, "{}", record.zone_line())?;
        }
    }
    Ok(())
}
