//! From the banner to where MAIL can follow: EHLO or HELO, STARTTLS, EHLO again, AUTH.

use bytes::BytesMut;
use posthaste_mail::Stage;

use super::garbage;
use crate::wire::{Answer, command};
use crate::{
    Capabilities, Habits, Hello, Loss, OpenError, Session, StartTls, TlsMode, Trust, WhyNoAuth, WhyNoTls,
};

/// What to do next. What is to be sent first stands in the buffer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Wait for one reply.
    Await(Stage),
    /// Nothing may be left unread; then the TLS handshake.
    Handshake,
    /// MAIL can follow.
    Ready,
    /// Give up.
    Failed(Failure),
}

/// Why, and what is left to do.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) error: OpenError,
    pub(crate) parting: Parting,
    pub(crate) again: Again,
}

/// How to leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Parting {
    Quit,
    Close,
}

/// Whether another connection to the same address is worth it at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Again {
    No,
    /// It said that it knows no EHLO and closed.
    WithHelo,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Banner,
    Ehlo,
    Helo { ehlo: EhloWas },
    StartTls,
    AuthPlain { response: Response },
    AuthLogin { asked: LoginAsked },
    Ready,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum EhloWas {
    Refused,
    NotTried,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Response {
    Open,
    Repeated,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum LoginAsked {
    Nothing,
    Username,
    Password,
}

pub(crate) struct Opening<'a> {
    session: &'a Session,
    state: State,
    trust: Option<Trust>,
    pub(crate) capabilities: Capabilities,
    pub(crate) habits: Habits,
}

impl<'a> Opening<'a> {
    pub(crate) fn new(session: &'a Session) -> Self {
        Self {
            session,
            state: State::Banner,
            trust: None,
            capabilities: Capabilities::default(),
            habits: session.habits,
        }
    }

    pub(crate) fn start(&self) -> Step {
        Step::Await(Stage::Banner)
    }

    /// A complete reply came.
    pub(crate) fn replied(&mut self, answer: &Answer, out: &mut BytesMut) -> Step {
        match (self.state, answer.class()) {
            (State::Banner, 2) => self.greet(out),
            (State::Ehlo, 2) => {
                self.capabilities = Capabilities::from_ehlo(&answer.lines);
                self.after_greeting(out)
            }
            (State::Ehlo, _) if matches!(answer.code, 500 | 502 | 504) => {
                self.state = State::Helo { ehlo: EhloWas::Refused };
                command::helo(out, &self.session.ehlo_name);
                Step::Await(Stage::Ehlo)
            }
            (State::Helo { .. }, 2) => {
                self.habits.hello = Hello::Helo;
                self.capabilities = Capabilities::default();
                self.after_greeting(out)
            }
            (State::StartTls, 2) => Step::Handshake,
            (State::StartTls, 4 | 5) => self.starttls_refused(answer, out),
            (State::AuthPlain { response: Response::Open }, 3) => {
                self.state = State::AuthPlain { response: Response::Repeated };
                self.with_credentials(out, command::auth_plain_response)
            }
            (State::AuthLogin { asked: LoginAsked::Nothing }, 3) => {
                self.state = State::AuthLogin { asked: LoginAsked::Username };
                self.with_credentials(out, |out, known| command::auth_login_response(out, &known.username))
            }
            (State::AuthLogin { asked: LoginAsked::Username }, 3) => {
                self.state = State::AuthLogin { asked: LoginAsked::Password };
                self.with_credentials(out, |out, known| command::auth_login_response(out, &known.password))
            }
            (State::AuthPlain { .. } | State::AuthLogin { asked: LoginAsked::Password }, 2) => self.ready(),
            (_, 4 | 5) => self.refused(answer),
            _ => self.lost(garbage(answer)),
        }
    }

    /// The peer went away, or took too long, or spoke no SMTP.
    pub(crate) fn lost(&self, how: Loss) -> Step {
        let again = match self.state {
            State::Helo { ehlo: EhloWas::Refused } if matches!(how, Loss::Closed | Loss::WriteFailed(_)) => {
                Again::WithHelo
            }
            _ => Again::No,
        };
        let error = match self.state {
            // Who goes away at STARTTLS would at every attempt: to the caller it is the handshake that cannot be had.
            State::StartTls => OpenError::Handshake { detail: format!("no reply to STARTTLS: {how}") },
            _ => OpenError::Lost { stage: self.stage(), how },
        };
        Step::Failed(Failure { error, parting: Parting::Close, again })
    }

    /// The handshake is done; nothing that was said before counts.
    pub(crate) fn encrypted(&mut self, trust: Trust, out: &mut BytesMut) -> Step {
        self.trust = Some(trust);
        self.capabilities = Capabilities::default();
        self.greet(out)
    }

    fn stage(&self) -> Stage {
        match self.state {
            State::Banner => Stage::Banner,
            State::Ehlo | State::Helo { .. } => Stage::Ehlo,
            State::StartTls => Stage::Tls,
            State::AuthPlain { .. } | State::AuthLogin { .. } => Stage::Auth,
            State::Ready => Stage::Mail,
        }
    }

    fn greet(&mut self, out: &mut BytesMut) -> Step {
        match self.habits.hello {
            Hello::Ehlo => {
                self.state = State::Ehlo;
                command::ehlo(out, &self.session.ehlo_name);
            }
            Hello::Helo => {
                self.state = State::Helo { ehlo: EhloWas::NotTried };
                command::helo(out, &self.session.ehlo_name);
            }
        }
        Step::Await(Stage::Ehlo)
    }

    fn after_greeting(&mut self, out: &mut BytesMut) -> Step {
        let skip = self.session.tls == TlsMode::Opportunistic && self.habits.starttls == StartTls::Skip;
        if self.trust.is_some() || self.session.tls == TlsMode::Never || skip {
            return self.authenticate(out);
        }
        if self.capabilities.starttls {
            self.state = State::StartTls;
            command::starttls(out);
            return Step::Await(Stage::Tls);
        }
        match self.session.tls {
            TlsMode::Never | TlsMode::Opportunistic => self.authenticate(out),
            TlsMode::Encrypt | TlsMode::Verify => quit(OpenError::NoTls { why: WhyNoTls::NotOffered }),
        }
    }

    fn starttls_refused(&mut self, answer: &Answer, out: &mut BytesMut) -> Step {
        match self.session.tls {
            TlsMode::Never | TlsMode::Opportunistic if answer.code != 421 => self.authenticate(out),
            TlsMode::Never | TlsMode::Opportunistic => self.refused(answer),
            TlsMode::Encrypt | TlsMode::Verify => {
                quit(OpenError::NoTls { why: WhyNoTls::Refused(answer.reply()) })
            }
        }
    }

    fn authenticate(&mut self, out: &mut BytesMut) -> Step {
        let Some(credentials) = &self.session.auth else { return self.ready() };
        if !self.trust.as_ref().is_some_and(Trust::is_verified) {
            return quit(OpenError::NoAuth { why: WhyNoAuth::NotVerified });
        }
        let offers = |name: &str| self.capabilities.auth.iter().any(|mechanism| mechanism == name);
        if offers("PLAIN") {
            self.state = State::AuthPlain { response: Response::Open };
            command::auth_plain(out, credentials);
        } else if offers("LOGIN") {
            self.state = State::AuthLogin { asked: LoginAsked::Nothing };
            command::auth_login(out);
        } else {
            return quit(OpenError::NoAuth { why: WhyNoAuth::NotOffered });
        }
        Step::Await(Stage::Auth)
    }

    fn with_credentials(
        &self,
        out: &mut BytesMut,
        write: impl FnOnce(&mut BytesMut, &crate::Credentials),
    ) -> Step {
        // AUTH is only begun with credentials at hand.
        let Some(credentials) = &self.session.auth else {
            return quit(OpenError::NoAuth { why: WhyNoAuth::NotOffered });
        };
        write(out, credentials);
        Step::Await(Stage::Auth)
    }

    fn refused(&self, answer: &Answer) -> Step {
        quit(OpenError::Replied { stage: self.stage(), reply: answer.reply() })
    }

    fn ready(&mut self) -> Step {
        self.state = State::Ready;
        Step::Ready
    }
}

fn quit(error: OpenError) -> Step {
    Step::Failed(Failure { error, parting: Parting::Quit, again: Again::No })
}
