//! `admin`: the operator's routes of the HTTP API. The same router as everybody's, in a function of its own, so that its
//! role alone may do what only an operator does; which key may ask for what is the router's to say.

pub use crate::http::Function;
