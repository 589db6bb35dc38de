//! STAND-IN, to be replaced: method, target and status only.
#![allow(missing_docs)]

use std::io::Write as _;
use std::sync::Arc;

use decap::{Direction, FlowKey, TunnelPath};
use http_parse::Exchange;
use reassembly::FlowInfo;

#[derive(Clone, Debug)]
pub struct ConnectionMeta {
    pub key: FlowKey,
    pub initiator: Option<Direction>,
    pub path: Option<Arc<TunnelPath>>,
    pub id: u64,
}

impl ConnectionMeta {
    pub fn new(info: &FlowInfo<'_>, path: Option<Arc<TunnelPath>>) -> Self {
        Self { key: *info.key, initiator: info.initiator, path, id: info.at.as_nanos() }
    }
}

#[derive(Clone, Debug)]
pub struct RecordOptions {
    pub sensor: String,
    pub decode_limit: usize,
}

#[derive(Debug)]
pub struct RecordWriter {
    options: RecordOptions,
}

#[derive(Clone, Copy, Debug)]
pub struct Written {
    pub id: [u8; 16],
    pub flags: http_parse::Flags,
}

impl RecordWriter {
    pub fn new(options: RecordOptions) -> Self {
        Self { options }
    }

    pub fn write(&mut self, meta: &ConnectionMeta, exchange: &Exchange<'_>, out: &mut Vec<u8>) -> Written {
        let _ = writeln!(
            out,
            "{{\"sensor\":{:?},\"connection\":{},\"request\":{:?},\"status\":{}}}",
            self.options.sensor,
            meta.id,
            exchange.request.map(|request| String::from_utf8_lossy(request.target())),
            exchange.response.map_or(0, |response| response.status()),
        );
        Written { id: [0; 16], flags: exchange.flags }
    }
}
