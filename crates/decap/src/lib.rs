//! Mirrored frames in, TCP segments out.
//!
//! `decap` is a sans-IO state machine: it takes a captured [`Frame`], takes off link layers, tags and tunnels, joins
//! IP fragments, and answers with one [`Segment`] or with a counted reason why there is none. It opens nothing, starts
//! nothing and reads no clock: time is the frame's timestamp. It never looks into a TCP payload, never validates a
//! checksum (mirrored and cut copies carry wrong ones), and never panics on any input.
//!
//! The vocabulary that the later stages share ([`FlowKey`], [`Direction`], [`Timestamp`], [`SeqNum`]) lives here.

mod ayiya;
mod config;
mod datagram;
mod decapsulator;
mod erspan;
mod ethernet;
mod extension;
mod flow;
mod fragments;
mod frame;
mod geneve;
mod gre;
mod gtpu;
mod ip;
mod link;
mod lisp;
mod mpls;
mod nflog;
mod nsh;
mod plain;
mod ppp;
mod reason;
mod rules;
mod segment;
mod seq;
mod stats;
mod step;
mod tags;
mod teredo;
mod time;
mod tunnel;
mod udp;
mod view;
mod vxlan;
mod walk;
mod wlan;

pub use config::Config;
pub use decapsulator::{Decapsulator, Verdict};
pub use flow::{Direction, Domain, Endpoint, FlowKey};
pub use frame::{Frame, LinkType};
pub use reason::SkipReason;
pub use segment::{Segment, TcpFlags};
pub use seq::SeqNum;
pub use stats::Stats;
pub use time::Timestamp;
pub use tunnel::{MAX_HOPS, MAX_VLANS, TunnelHop, TunnelId, TunnelKind, TunnelPath};
