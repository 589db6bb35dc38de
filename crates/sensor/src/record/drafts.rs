//! Exchanges that are still to be written as records, copied so that another thread can do it.
//!
//! Writing a record costs about as much as all that comes before it. Where the thread that reads does not write, it copies:
//! the heads, which an id needs copied anyway, and what was kept of the bodies.

use std::sync::Arc;

use http_parse::{Copies, Exchange, Flags, Message, Side};

use super::connection::ConnectionMeta;
use super::writer::Admission;

/// Exchanges, in the order in which they were completed, and all that their records need.
#[derive(Debug, Default)]
pub struct Drafts {
    drafts: Vec<Draft>,
    /// Each one's request and response, as far as it has them.
    messages: Copies,
    /// The rule that let the latest one through that came through by one: most come by the same.
    rule: Option<Arc<str>>,
}

#[derive(Debug)]
struct Draft {
    meta: ConnectionMeta,
    client: Side,
    index: Option<u32>,
    flags: Flags,
    has_request: bool,
    has_response: bool,
    rule: Option<Arc<str>>,
    weight: u32,
    /// Where in the copies its messages end.
    messages: usize,
}

/// Where the messages of a draft stand while its record is written.
#[derive(Debug, Default)]
pub struct Desk {
    request: Message,
    response: Message,
}

impl Drafts {
    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.drafts.is_empty()
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.drafts.len()
    }

    /// How many bytes they take.
    #[must_use]
    pub fn size(&self) -> usize {
        self.messages.size() + self.drafts.len() * size_of::<Draft>()
    }

    /// Takes a copy of an exchange.
    #[inline]
    pub fn push(&mut self, meta: &ConnectionMeta, exchange: &Exchange<'_>, admission: Admission<'_>) {
        for message in [exchange.request, exchange.response].into_iter().flatten() {
            self.messages.push(message);
        }
        self.drafts.push(Draft {
            meta: meta.clone(),
            client: exchange.client,
            index: exchange.index,
            flags: exchange.flags,
            has_request: exchange.request.is_some(),
            has_response: exchange.response.is_some(),
            rule: admission.rule.map(|rule| shared(&mut self.rule, rule)),
            weight: admission.weight,
            messages: self.messages.len(),
        });
    }

    /// Each exchange, shown to `write` as it was shown to [`Drafts::push`].
    pub fn for_each(&self, desk: &mut Desk, mut write: impl FnMut(&ConnectionMeta, &Exchange<'_>, Admission<'_>)) {
        let Desk { request, response } = desk;
        let mut next = 0;
        let mut restore = |is_there: bool, message: &mut Message| {
            let is_there = is_there && self.messages.restore(next, message);
            next += usize::from(is_there);
            is_there
        };
        for draft in &self.drafts {
            let has_request = restore(draft.has_request, request);
            let has_response = restore(draft.has_response, response);
            let exchange = Exchange {
                request: has_request.then_some(&*request),
                response: has_response.then_some(&*response),
                client: draft.client,
                index: draft.index,
                flags: draft.flags,
            };
            write(&draft.meta, &exchange, Admission { rule: draft.rule.as_deref(), weight: draft.weight });
        }
    }

    /// Forgets all of them. Of each buffer's memory, `kept` bytes stay at most.
    pub fn clear(&mut self, kept: usize) {
        self.drafts.clear();
        self.drafts.shrink_to(kept / size_of::<Draft>());
        self.messages.clear(kept);
    }

    /// Takes away what was copied of an exchange that did not come to its end.
    pub fn drop_unfinished(&mut self) {
        self.messages.truncate(self.drafts.last().map_or(0, |last| last.messages));
    }
}

/// `rule`, shared with the one before it where that is the same.
fn shared(latest: &mut Option<Arc<str>>, rule: &str) -> Arc<str> {
    match latest {
        Some(known) if **known == *rule => Arc::clone(known),
        _ => Arc::clone(latest.insert(Arc::from(rule))),
    }
}
