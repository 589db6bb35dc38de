//! What a record says about the connection that its exchange came from.

use std::sync::Arc;

use decap::{Direction, Endpoint, FlowKey, TunnelPath};
use http_parse::Side;
use reassembly::FlowInfo;

use super::id;

/// What is kept of a connection for its records. Small, because hundreds of thousands live at once.
#[derive(Clone, Debug)]
pub struct ConnectionMeta {
    /// The flow's name.
    pub key: FlowKey,
    /// The direction in which the connection was opened; `None`: picked up mid-stream.
    pub initiator: Option<Direction>,
    /// Where its first segment came through; `None`: neither tunnel nor VLAN.
    pub path: Option<Arc<TunnelPath>>,
    /// The connection's id: the same for any number of workers and each replay of the capture.
    pub id: u64,
    /// The client that a PROXY protocol header at the connection's start names, and which side sent it. Seldom there, and
    /// so kept apart.
    pub proxied: Option<Arc<(Side, Endpoint)>>,
}

impl ConnectionMeta {
    /// What a flow's records need of it. `path` is `info.path`, shared by the caller between flows that have the same;
    /// `None` when it is empty.
    #[must_use]
    pub fn new(info: &FlowInfo<'_>, path: Option<Arc<TunnelPath>>) -> Self {
        let id = id::connection_id(info.key, info.at.as_nanos());
        Self { key: *info.key, initiator: info.initiator, path, id, proxied: None }
    }

    /// The endpoint of a side: [`Side::Left`] is where [`Direction::Forward`] comes from.
    #[must_use]
    pub fn endpoint(&self, side: Side) -> Endpoint {
        self.key.source(match side {
            Side::Left => Direction::Forward,
            Side::Right => Direction::Reverse,
        })
    }

    /// Notes what a PROXY protocol header says, which came in this direction.
    pub fn note_proxied(&mut self, direction: Direction, addresses: Option<(Endpoint, Endpoint)>) {
        self.proxied = addresses.map(|(client, _)| Arc::new((side(direction), client)));
    }

    /// Whom the PROXY protocol header of this side names.
    #[must_use]
    #[inline]
    pub fn proxied(&self, side: Side) -> Option<Endpoint> {
        self.proxied.as_deref().filter(|(sender, _)| *sender == side).map(|(_, client)| *client)
    }
}

/// The side that sends in a direction.
pub(crate) const fn side(direction: Direction) -> Side {
    match direction {
        Direction::Forward => Side::Left,
        Direction::Reverse => Side::Right,
    }
}
