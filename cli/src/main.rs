//! `posthaste`, the one command: delivery on this machine, and everything an operator asks or tells it.
//!
//! What is absent: no decision about mail. Commands read arguments, ask the API (or, where nothing need run, the
//! policy crate), and show what came back. Every command ends with 0, with 2 where what it was given is wrong, and
//! with 1 where something failed. A reader that goes away is the end of the output, never an error.

mod client;
mod commands;
mod failure;
mod host;
mod log;
mod screen;
mod simulate;

use std::process::ExitCode;

use clap::Parser;

use crate::commands::Command;

/// The host's memory is many small pieces of different ages, on several threads: what this allocator is good at.
/// Without huge pages (`no_thp`): they kept a third of the memory resident that nothing used.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Takes mail in over HTTP and gets it to the recipients' MX hosts.
#[derive(Debug, Parser)]
#[command(
    name = "posthaste",
    version,
    propagate_version = true,
    arg_required_else_help = true,
    max_term_width = 100
)]
#[command(after_help = "Examples:
  posthaste demo                        the whole pipeline on this machine, in ten seconds
  posthaste dev                         the local stack, until Ctrl-C
  posthaste send --from hello@acme.example --to defer-2@example.net --subject Hi --text Hello --wait
  posthaste queue                       what waits, and why

POSTHASTE_API, POSTHASTE_API_KEY and POSTHASTE_POLICY stand for --api, --api-key and --policy.
Exit codes: 0 done, 1 failed, 2 wrong usage or input.")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return failure::refuse_usage(&error),
    };
    match cli.command.run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.end(),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn every_command_has_an_example_and_names_no_argument_twice() {
        let cli = super::Cli::command();
        cli.clone().debug_assert();
        fn check(command: &clap::Command) {
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            assert!(help.contains("Example"), "{} has no example", command.get_name());
            command.get_subcommands().for_each(check);
        }
        check(&cli);
    }
}
