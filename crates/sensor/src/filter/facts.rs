//! What rules are asked about.

use core::net::IpAddr;

use decap::Endpoint;
use http_parse::Message;

/// Header fields that can be gone through.
pub trait Fields {
    /// Calls `visit` with the name and the value of each field, in wire order.
    fn each(&self, visit: &mut dyn FnMut(&[u8], &[u8]));

    /// The lengths of the fields' names as bits, the highest for 63 and more: those of no field may be in it, too.
    fn name_lengths(&self) -> u64 {
        u64::MAX
    }

    /// Calls `visit` with the value of the first field of this name, if there is one.
    fn first(&self, name: &str, visit: &mut dyn FnMut(&[u8])) {
        let mut is_found = false;
        self.each(&mut |field, value| {
            if !is_found && field.eq_ignore_ascii_case(name.as_bytes()) {
                is_found = true;
                visit(value);
            }
        });
    }
}

impl Fields for Message {
    fn each(&self, visit: &mut dyn FnMut(&[u8], &[u8])) {
        for header in self.headers() {
            visit(header.name, header.value);
        }
    }

    fn name_lengths(&self) -> u64 {
        self.header_name_lengths()
    }

    fn first(&self, name: &str, visit: &mut dyn FnMut(&[u8])) {
        if let Some(value) = self.header(name) {
            visit(value);
        }
    }
}

impl<N: AsRef<[u8]>, V: AsRef<[u8]>> Fields for [(N, V)] {
    fn each(&self, visit: &mut dyn FnMut(&[u8], &[u8])) {
        for (name, value) in self {
            visit(name.as_ref(), value.as_ref());
        }
    }
}

impl<N: AsRef<[u8]>, V: AsRef<[u8]>> Fields for Vec<(N, V)> {
    fn each(&self, visit: &mut dyn FnMut(&[u8], &[u8])) {
        self.as_slice().each(visit);
    }
}

impl<N: AsRef<[u8]>, V: AsRef<[u8]>, const LEN: usize> Fields for [(N, V); LEN] {
    fn each(&self, visit: &mut dyn FnMut(&[u8], &[u8])) {
        self.as_slice().each(visit);
    }
}

/// What is known of a flow before its first request.
#[derive(Clone, Copy, Debug)]
pub struct FlowFacts<'a> {
    /// The connection's client end, as its packets say.
    pub peer: Endpoint,
    /// The client's address, where no request can say otherwise: the peer is no trusted proxy
    /// ([`crate::normalize::Normalizer::may_forward`]).
    pub client: Option<IpAddr>,
    /// The connection's server end.
    pub server: Endpoint,
    /// The virtual network ids around it.
    pub vnis: &'a [u32],
    /// The VLAN ids around it.
    pub vlans: &'a [u16],
}

/// What is known of a request once its head is.
#[derive(Clone, Copy)]
pub struct RequestFacts<'a> {
    /// The client's address, as normalization found it.
    pub client: IpAddr,
    /// The method, as sent.
    pub method: &'a [u8],
    /// The normalized host, without port; of a request with several Host fields, all of them as one list.
    pub host: Option<&'a [u8]>,
    /// The normalized path, without query.
    pub path: Option<&'a [u8]>,
    /// Its header fields.
    pub headers: &'a dyn Fields,
}

/// What is known of a response once its head is.
#[derive(Clone, Copy)]
pub struct ResponseFacts<'a> {
    /// The status code.
    pub status: u16,
    /// Its header fields.
    pub headers: &'a dyn Fields,
}

/// What is known of a transaction: of one whose response was captured, as soon as the response's head is.
#[derive(Clone, Copy)]
pub struct Facts<'a> {
    /// The flow.
    pub flow: FlowFacts<'a>,
    /// The request; `None`: it was not captured.
    pub request: Option<RequestFacts<'a>>,
    /// The response; `None`: there is none.
    pub response: Option<ResponseFacts<'a>>,
}
