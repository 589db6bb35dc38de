//! What a record calls its client, host, path and endpoint, made of what is recorded: never of what masking took out.

use core::net::{IpAddr, SocketAddr};
use std::io::Write as _;
use std::sync::Arc;

use decap::Endpoint;
use http_parse::{Exchange, Message, MessageKind};

use super::connection::ConnectionMeta;
use super::json::append_lossy_inside;
use super::masking::{Masked, Masking};
use crate::normalize::{
    Authority, ClientAddress, Normalizer, Origin, Scheme, WonBy, endpoint_template, host, normalize_path,
};

/// The client of an exchange, and who says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Client {
    pub(super) ip: IpAddr,
    /// `None`: nobody says.
    pub(super) port: Option<u16>,
    pub(super) source: WonBy,
    /// The scheme that the client used with the outermost trusted proxy.
    pub(super) scheme: Option<Scheme>,
}

/// Makes names; keeps the buffers they stand in.
#[derive(Debug, Default)]
pub(super) struct Names {
    normalizer: Arc<Normalizer>,
    host: Vec<u8>,
    path: Vec<u8>,
    template: Vec<u8>,
    address: Vec<u8>,
    /// Members of a path's other forms, as [`Names::note_path`] left them.
    noted: Vec<u8>,
}

/// A path as it is grouped by.
#[derive(Clone, Copy, Debug)]
pub(super) struct PathNames<'a> {
    /// The normalized path, where it is not the path itself.
    pub(super) normalized: Option<&'a [u8]>,
    /// The endpoint's template, where records carry one.
    pub(super) template: Option<&'a [u8]>,
}

impl Names {
    pub(super) fn new(normalizer: Arc<Normalizer>) -> Self {
        Self { normalizer, ..Self::default() }
    }

    pub(super) fn normalizer(&self) -> &Normalizer {
        &self.normalizer
    }

    /// Whether records carry templates.
    #[inline(always)]
    pub(super) fn has_template(&self) -> bool {
        self.normalizer.has_template()
    }

    /// Who the client is.
    #[inline(always)]
    pub(super) fn client(
        &mut self,
        masking: &mut impl Masking,
        meta: &ConnectionMeta,
        exchange: &Exchange<'_>,
    ) -> Client {
        let peer = meta.endpoint(exchange.client);
        if self.normalizer.may_forward(peer.ip) {
            return self.forwarded_client(masking, meta, exchange, peer);
        }
        Client { ip: peer.ip, port: Some(peer.port), source: WonBy::Connection, scheme: None }
    }

    /// Who the client of a trusted proxy is.
    #[inline(never)]
    fn forwarded_client(
        &mut self,
        masking: &mut impl Masking,
        meta: &ConnectionMeta,
        exchange: &Exchange<'_>,
        peer: Endpoint,
    ) -> Client {
        let proxied = meta.proxied(exchange.client);
        let headers = exchange.request.into_iter().flat_map(Message::headers);
        let headers = headers.map(|header| (header.name, header.value));
        let Origin { client: ClientAddress { ip, port: stated, source }, scheme } =
            self.normalizer.origin(peer.ip, proxied.map(|end| end.ip), headers);
        let port = match source {
            WonBy::Connection => Some(peer.port),
            WonBy::ProxyProtocol => proxied.map(|end| end.port),
            WonBy::Header(_) => stated,
        };
        if let WonBy::Header(header) = source {
            // Where addresses are taken out of this header, what was read from it must not stand elsewhere.
            self.address.clear();
            // Writing to a Vec cannot fail.
            _ = write!(self.address, "{ip}");
            let mut keeps = |address: &[u8]| {
                masking.header(MessageKind::Request, header.header().as_bytes(), address) == Masked::Kept
            };
            let mut is_kept = keeps(&self.address);
            if let Some(port) = stated.filter(|_| is_kept) {
                self.address.clear();
                _ = write!(self.address, "{}", SocketAddr::new(ip, port));
                is_kept = keeps(&self.address);
            }
            if !is_kept {
                return Client { ip: peer.ip, port: Some(peer.port), source: WonBy::Connection, scheme };
            }
        }
        Client { ip, port, source, scheme }
    }

    /// The host of a request: of its target's authority, or else of its Host field.
    #[inline(always)]
    pub(super) fn host<'a>(&'a mut self, target: Option<&'a [u8]>, field: Option<&'a [u8]>) -> Option<Authority<'a>> {
        host(target, None, field, &mut self.host)
    }

    /// A path's other forms.
    #[inline(always)]
    pub(super) fn path<'a>(&'a mut self, path: &'a [u8]) -> PathNames<'a> {
        let Self { normalizer, path: normalized, template, .. } = self;
        let canonical = normalize_path(path, normalized);
        PathNames {
            // Where it stands in the buffer it may still be the same: what seems to be an escape may be none.
            normalized: (canonical.as_ptr() != path.as_ptr() && canonical != path).then_some(canonical),
            template: normalizer.has_template().then(|| endpoint_template(canonical, template)),
        }
    }

    /// Notes a path's other forms as members, each with a comma before it, for [`Names::noted`].
    pub(super) fn note_path(&mut self, path: Option<&[u8]>) {
        let mut noted = core::mem::take(&mut self.noted);
        noted.clear();
        if let Some(path) = path {
            let PathNames { normalized, template } = self.path(path);
            for (name, text) in [("normalized_path", normalized), ("template", template)] {
                if let Some(text) = text {
                    noted.extend_from_slice(b",\"");
                    noted.extend_from_slice(name.as_bytes());
                    noted.extend_from_slice(b"\":\"");
                    append_lossy_inside(text, &mut noted);
                    noted.push(b'"');
                }
            }
        }
        self.noted = noted;
    }

    /// What was noted last.
    pub(super) fn noted(&self) -> &[u8] {
        &self.noted
    }
}
