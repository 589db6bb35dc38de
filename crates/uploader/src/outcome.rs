//! What became of an attempt to send: retryability as data.

use std::time::Duration;

/// What became of one attempt to send one batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The receiver has it.
    Accepted,
    /// It did not work now and may later.
    Retry {
        /// Why.
        reason: RetryReason,
        /// How long the receiver asked to be left alone.
        after: Option<Duration>,
    },
    /// The token was not good any more; the transport will have another one for the next attempt.
    Refresh,
    /// Too large for the receiver: smaller ones may be accepted.
    Split,
    /// The receiver will never take it.
    Reject {
        /// The HTTP status, or 0 where there is none.
        status: u16,
        /// The beginning of the answer, for the dead-letter folder only: it may repeat what was sent.
        answer: Answer,
    },
}

impl Outcome {
    /// A retry without a wish of the receiver.
    #[must_use]
    pub const fn retry(reason: RetryReason) -> Self {
        Self::Retry { reason, after: None }
    }
}

/// The beginning of an answer's body. `Debug` shows its length only: it may repeat what was sent.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Answer(pub Vec<u8>);

impl std::fmt::Debug for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Answer({} bytes)", self.0.len())
    }
}

/// Why an attempt failed that will be made again. A closed list: each is a label in metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum RetryReason {
    /// No connection: the name was not found, or it was refused, or there is no route.
    Connect,
    /// TLS failed: a certificate was not good, for either side.
    Tls,
    /// No answer in time.
    Timeout,
    /// The connection ended before the answer did.
    Broken,
    /// 408: the receiver waited too long for the request.
    RequestTimeout,
    /// 429: the receiver asks for patience.
    TooManyRequests,
    /// 502, 503, 504: nobody behind the receiver's front answers.
    Unavailable,
    /// 500 and the other statuses from 500 up.
    ServerError,
    /// 401 although the token was fresh.
    Unauthorized,
    /// No token could be had.
    Token,
    /// An answer that the platform does not give: a redirection, or success with a body that is not its own.
    UnexpectedAnswer,
    /// A file could not be read or written on this machine.
    Local,
}

impl RetryReason {
    /// Every reason, in declaration order.
    pub const ALL: &'static [Self] = &[
        Self::Connect,
        Self::Tls,
        Self::Timeout,
        Self::Broken,
        Self::RequestTimeout,
        Self::TooManyRequests,
        Self::Unavailable,
        Self::ServerError,
        Self::Unauthorized,
        Self::Token,
        Self::UnexpectedAnswer,
        Self::Local,
    ];

    /// The stable `snake_case` name used in metrics and logs.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Tls => "tls",
            Self::Timeout => "timeout",
            Self::Broken => "broken",
            Self::RequestTimeout => "request_timeout",
            Self::TooManyRequests => "too_many_requests",
            Self::Unavailable => "unavailable",
            Self::ServerError => "server_error",
            Self::Unauthorized => "unauthorized",
            Self::Token => "token",
            Self::UnexpectedAnswer => "unexpected_answer",
            Self::Local => "local",
        }
    }

    /// What an operator can do about it.
    #[must_use]
    pub const fn advice(self) -> &'static str {
        match self {
            Self::Connect => "check the address, name resolution, the proxy and the firewall",
            Self::Tls => "check both sides' certificates, the trusted authorities and the clocks",
            Self::Timeout => "check the network between here and the platform, and the time-outs",
            Self::Broken => "check for a proxy or firewall that cuts connections",
            Self::RequestTimeout => "check the line's speed, or make batches smaller",
            Self::TooManyRequests => "the platform limits the rate; it is honoured",
            Self::Unavailable | Self::ServerError => "the platform is in trouble; ask its operator if it lasts",
            Self::Unauthorized => "check the client id, its secret and its rights",
            Self::Token => "check the token endpoint's address and certificates, the client id and its secret",
            Self::UnexpectedAnswer => "check that the address is the platform's and not a login page",
            Self::Local => "check the disk and the folder's rights",
        }
    }

    /// Whether it says that no batch would get through, so that trying with others is pointless.
    #[must_use]
    pub const fn concerns_all(self) -> bool {
        match self {
            Self::Connect
            | Self::Tls
            | Self::Timeout
            | Self::TooManyRequests
            | Self::Unavailable
            | Self::Unauthorized
            | Self::Token => true,
            Self::Broken | Self::RequestTimeout | Self::ServerError | Self::UnexpectedAnswer | Self::Local => false,
        }
    }

    /// Whether what was sent cannot have been the cause: nothing of it was looked at.
    #[must_use]
    pub const fn is_before_the_batch(self) -> bool {
        matches!(self, Self::Connect | Self::Tls | Self::TooManyRequests | Self::Unauthorized | Self::Token)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_have_distinct_names_and_places() {
        let names: std::collections::HashSet<_> = RetryReason::ALL.iter().map(|reason| reason.name()).collect();
        assert_eq!(names.len(), RetryReason::ALL.len());
        for (place, reason) in RetryReason::ALL.iter().enumerate() {
            assert_eq!(*reason as usize, place);
        }
    }
}
