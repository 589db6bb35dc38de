//! A transaction with everything that rules can ask about.

use std::net::IpAddr;

use decap::Endpoint;
use sensor::filter::{Facts, FlowFacts, RequestFacts, ResponseFacts, RuleSettings, Rules, Settings};

#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) client: IpAddr,
    pub(crate) method: String,
    pub(crate) host: Option<String>,
    pub(crate) path: Option<String>,
    pub(crate) headers: Vec<(String, String)>,
}

#[derive(Clone, Debug)]
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
}

#[derive(Clone, Debug)]
pub(crate) struct Transaction {
    pub(crate) peer: IpAddr,
    pub(crate) is_client_known: bool,
    pub(crate) server: (IpAddr, u16),
    pub(crate) vnis: Vec<u32>,
    pub(crate) vlans: Vec<u16>,
    pub(crate) request: Option<Request>,
    pub(crate) response: Option<Response>,
}

impl Transaction {
    /// `GET /v1/orders` and its answer.
    pub(crate) fn new() -> Self {
        Self {
            peer: "10.0.0.1".parse().unwrap(),
            is_client_known: false,
            server: ("10.9.0.1".parse().unwrap(), 8080),
            vnis: vec![4711],
            vlans: vec![100],
            request: Some(Request {
                client: "192.0.2.1".parse().unwrap(),
                method: "GET".to_owned(),
                host: Some("api.shop.example".to_owned()),
                path: Some("/v1/orders".to_owned()),
                headers: vec![("User-Agent".to_owned(), "curl/8.5".to_owned())],
            }),
            response: Some(Response {
                status: 200,
                headers: vec![("Content-Type".to_owned(), "Application/JSON; charset=utf-8".to_owned())],
            }),
        }
    }

    pub(crate) fn flow(&self) -> FlowFacts<'_> {
        let client = self.request.as_ref().map_or(self.peer, |request| request.client);
        FlowFacts {
            peer: Endpoint { ip: self.peer, port: 50_000 },
            client: self.is_client_known.then_some(client),
            server: Endpoint { ip: self.server.0, port: self.server.1 },
            vnis: &self.vnis,
            vlans: &self.vlans,
        }
    }

    pub(crate) fn request(&self) -> Option<RequestFacts<'_>> {
        self.request.as_ref().map(|request| RequestFacts {
            client: request.client,
            method: request.method.as_bytes(),
            host: request.host.as_deref().map(str::as_bytes),
            path: request.path.as_deref().map(str::as_bytes),
            headers: &request.headers,
        })
    }

    pub(crate) fn facts(&self) -> Facts<'_> {
        let response = self
            .response
            .as_ref()
            .map(|response| ResponseFacts { status: response.status, headers: &response.headers });
        Facts { flow: self.flow(), request: self.request(), response }
    }
}

pub(crate) fn compile(rules: Vec<RuleSettings>) -> Rules {
    let settings = Settings { rules, ..Settings::default() };
    Rules::compile(&settings).unwrap_or_else(|problems| panic!("{problems:?}"))
}
