//! Octets: replies read within bounds, commands written, messages stuffed. Knows no socket.

pub(crate) mod command;
pub(crate) mod reply;
pub(crate) mod stuffing;

pub(crate) use reply::{Answer, ReplyReader};
