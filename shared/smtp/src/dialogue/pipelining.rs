//! Commands that were sent and not yet answered (RFC 2920).

use std::collections::VecDeque;

use posthaste_mail::Stage;

/// Most octets of commands sent and not yet answered. 8 KiB fits any socket's buffers, so that a peer that answers
/// before it reads on cannot block us while we block it; about 150 recipients.
const PIPELINE_OCTETS_MAX: usize = 8 * 1024;
/// Room kept for one more command: a path of 256 octets, quoted at worst, and its parameters.
const COMMAND_OCTETS_ROOM: usize = 640;

/// One command that is answered by one reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Command {
    Rset,
    Mail,
    /// With the recipient's index.
    Rcpt(usize),
    Data,
}

impl Command {
    pub(crate) fn stage(self) -> Stage {
        match self {
            Self::Rset | Self::Mail => Stage::Mail,
            Self::Rcpt(_) => Stage::Rcpt,
            Self::Data => Stage::Data,
        }
    }
}

/// How commands may follow one another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pace {
    /// Each after the reply to the one before.
    OneByOne,
    /// Together, within the bound.
    Together,
}

#[derive(Debug)]
pub(crate) struct InFlight {
    pace: Pace,
    commands: VecDeque<(Command, usize)>,
    octets: usize,
}

impl InFlight {
    pub(crate) fn new(pace: Pace, room: usize) -> Self {
        Self { pace, commands: VecDeque::with_capacity(room), octets: 0 }
    }

    pub(crate) fn push(&mut self, command: Command, octets: usize) {
        self.octets += octets;
        self.commands.push_back((command, octets));
    }

    /// The command that the next reply answers.
    pub(crate) fn answered(&mut self) -> Option<Command> {
        let (command, octets) = self.commands.pop_front()?;
        self.octets -= octets;
        Some(command)
    }

    /// What is waited for.
    pub(crate) fn stage(&self) -> Option<Stage> {
        self.commands.front().map(|(command, _)| command.stage())
    }

    pub(crate) fn may_send(&self) -> bool {
        let room = self.octets + COMMAND_OCTETS_ROOM <= PIPELINE_OCTETS_MAX;
        self.commands.is_empty() || (self.pace == Pace::Together && room)
    }

    /// Whether a recipient's reply is still to come.
    pub(crate) fn has_rcpt(&self) -> bool {
        self.commands.iter().any(|(command, _)| matches!(command, Command::Rcpt(_)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_unanswered_is_bounded() {
        let check = |pace: Pace, command_octets: usize, expected: usize| {
            let mut in_flight = InFlight::new(pace, 0);
            let mut sent = 0;
            while in_flight.may_send() && sent < 1000 {
                in_flight.push(Command::Rcpt(sent), command_octets);
                sent += 1;
            }
            assert_eq!(sent, expected);
            assert!(sent * command_octets <= PIPELINE_OCTETS_MAX);
            assert_eq!(in_flight.answered(), Some(Command::Rcpt(0)));
            assert!(in_flight.may_send());
        };
        check(Pace::OneByOne, 30, 1);
        check(Pace::Together, 30, 252);
        check(Pace::Together, COMMAND_OCTETS_ROOM, 12);
    }
}
