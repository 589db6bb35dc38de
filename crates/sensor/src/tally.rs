//! What the summary counts beside the ledger: status classes, hosts, what TLS clients ask for.

use http_parse::{ClientHello, Exchange, Flag, Flags, MessageKind};

use crate::masker::{MaskPolicy, RecordMasker};
use crate::record::{FindingForm, Masking as _};
use crate::top::TopList;

/// Takes secrets out of names before they are counted and shown: clients put a user and a password in front of a host.
#[derive(Debug)]
pub struct NameMasker {
    masker: RecordMasker,
    /// The name that came last, and what is counted for it: names come in runs.
    latest: Vec<u8>,
    masked: Vec<u8>,
}

impl NameMasker {
    /// One that takes out what `policy` says.
    #[must_use]
    pub fn new(policy: &MaskPolicy) -> Self {
        Self { masker: RecordMasker::new(policy), latest: Vec::new(), masked: Vec::new() }
    }

    /// What is to be counted for `name`, which is that of a host.
    #[inline]
    pub fn mask(&mut self, name: &[u8]) -> &[u8] {
        if self.latest != name {
            self.masker.begin(FindingForm::Native);
            let masked = self.masker.header(MessageKind::Request, b"Host", name).or(name);
            self.masked.clear();
            self.masked.extend_from_slice(masked);
            self.latest.clear();
            self.latest.extend_from_slice(name);
        }
        &self.masked
    }
}

/// Counts over exchanges, in constant memory.
#[derive(Clone, Debug)]
pub struct Tally {
    /// Responses by status class: `[1xx, 2xx, 3xx, 4xx, 5xx, anything else]`.
    pub status_classes: [u64; 6],
    /// Exchanges with something odd about them, by `Flag as usize`.
    pub flags: [u64; Flag::ALL.len()],
    /// Hosts asked for, as the Host header says.
    pub hosts: TopList,
    /// Server names in TLS client hellos.
    pub server_names: TopList,
    /// Application protocols that TLS client hellos offered (ALPN), once for each time one is named.
    pub application_protocols: TopList,
}

impl Tally {
    /// The names of [`Tally::status_classes`].
    pub const CLASSES: [&'static str; 6] = ["1xx", "2xx", "3xx", "4xx", "5xx", "other"];

    /// Counts the oddities that a record names.
    pub fn record(&mut self, flags: Flags) {
        if !flags.is_empty() {
            for flag in flags.iter() {
                self.flags[flag as usize] += 1;
            }
        }
    }

    /// Counts an exchange, its host by the name that `masker` leaves of it.
    pub fn exchange(&mut self, exchange: &Exchange<'_>, masker: Option<&mut NameMasker>) {
        if let Some(host) = exchange.request.and_then(|request| request.header("host")) {
            match masker {
                Some(masker) => self.hosts.add(masker.mask(host)),
                None => self.hosts.add(host),
            }
        }
        if let Some(response) = exchange.response {
            let class = match response.status() {
                status @ 100..=599 => usize::from(status / 100 - 1),
                _ => 5,
            };
            self.status_classes[class] += 1;
        }
    }

    /// Counts a TLS connection whose first message was seen, by the names that `masker` leaves of those in it.
    pub fn client_hello(&mut self, hello: &ClientHello, mut masker: Option<&mut NameMasker>) {
        let mut count = |list: &mut TopList, name: &str| match &mut masker {
            Some(masker) => list.add(masker.mask(name.as_bytes())),
            None => list.add(name.as_bytes()),
        };
        if let Some(name) = &hello.server_name {
            count(&mut self.server_names, name);
        }
        for protocol in &hello.alpn {
            count(&mut self.application_protocols, protocol);
        }
    }

    /// Adds the counts of `other`.
    pub fn merge(&mut self, other: &Self) {
        for (mine, theirs) in self.status_classes.iter_mut().zip(other.status_classes) {
            *mine += theirs;
        }
        for (mine, theirs) in self.flags.iter_mut().zip(other.flags) {
            *mine += theirs;
        }
        self.hosts.merge(&other.hosts);
        self.server_names.merge(&other.server_names);
        self.application_protocols.merge(&other.application_protocols);
    }
}

impl Default for Tally {
    fn default() -> Self {
        Self {
            status_classes: [0; 6],
            flags: [0; Flag::ALL.len()],
            hosts: TopList::default(),
            server_names: TopList::default(),
            application_protocols: TopList::default(),
        }
    }
}
