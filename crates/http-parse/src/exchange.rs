//! What comes out.

use crate::Side;
use crate::flags::Flags;
use crate::message::Message;
use crate::protocol::{ClientHello, Protocol};

/// A request and its response, or one of them alone.
#[derive(Clone, Copy, Debug)]
pub struct Exchange<'a> {
    /// The request; `None`: an orphan response.
    pub request: Option<&'a Message>,
    /// The response; `None`: unanswered, as far as was seen.
    pub response: Option<&'a Message>,
    /// Which side is the client.
    pub client: Side,
    /// The request's position among the requests seen on this connection, from 1; `None` for an orphan.
    pub index: Option<u32>,
    /// What was odd about the exchange; the flags of its messages included.
    pub flags: Flags,
}

/// The heads that are known when a body begins: a request's alone, or a response's with that of its request.
#[derive(Clone, Copy, Debug)]
pub struct Heads<'a> {
    /// The request; `None`: it is the response's body, and which request that answers is not certain.
    pub request: Option<&'a Message>,
    /// The response, if it is its body.
    pub response: Option<&'a Message>,
    /// Which side is the client.
    pub client: Side,
}

/// The receiver of finished exchanges.
pub trait ExchangeSink {
    /// An exchange is complete, or will never be more complete than this.
    fn exchange(&mut self, exchange: &Exchange<'_>);

    /// A message's head was read and a body follows: whether its content is of use. What is not is framed and counted, never
    /// kept; its message is flagged [`crate::Flag::BodyNotCaptured`].
    fn wants_body(&mut self, _: &Heads<'_>) -> bool {
        true
    }

    /// The connection (or what follows an upgrade or CONNECT in it) was recognized as something other than HTTP/1.
    /// Called at most once for each recognition; `hello` is given for TLS whose first message was seen.
    fn recognized(&mut self, protocol: Protocol, hello: Option<&ClientHello>);
}
