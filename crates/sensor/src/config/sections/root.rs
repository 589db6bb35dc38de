//! The keys above all sections, and the sections.

use std::path::PathBuf;

use super::prelude::*;
use super::{
    Bodies, Capture, Cpus, Decap, Filters, Http, Log, Mask, Normalize, Privileges, Reassembly, Status, Upload,
};
use crate::config::Place;

/// The most workers that may be asked for.
pub const MAX_WORKERS: usize = 256;

choices! {
    /// How the ledger is printed.
    #[derive(clap::ValueEnum)]
    pub enum LedgerFormat {
        /// A line of text for each line of the ledger.
        Text = "text",
        /// One JSON object on one line.
        Json = "json",
    }
}

section! {
    Restart;
    /// The whole configuration, checked.
    pub struct Config {
        /// A folder of further files of settings, looked for beside this file: every *.toml in it is read, in the order of
        /// their names. What two files set is refused, but for lists of sections such as [[capture]], which are joined.
        pub include: Option<PathBuf> = path().optional("conf.d"),
        /// The sensor's name in every record (--sensor).
        pub sensor: String = name().or("sensor"),
        /// Memory for everything that grows with the traffic: connections, out-of-order data, IP fragments, heads, bodies
        /// (--memory). When a part is full, the oldest or least useful makes room, and the ledger counts it.
        pub memory: ByteSize = any_size().or(gib(1)),
        /// Threads that work on flows: 1 works on the reading thread, 0 takes one fewer than there are cores (--workers).
        /// Default: 1 in a replay, 0 live.
        pub workers: Option<usize> = whole(0..=MAX_WORKERS as i64).optional(1_usize),
        /// Only look at frames that match this pcap filter expression, as captured: on tunnelled traffic it sees the outer
        /// headers (--filter). Default: every frame, as with an empty expression. What is recorded of the transactions in
        /// them is the matter of [filters].
        pub filter: Option<String> = frame_filter().optional(""),
        /// Where records go that are not uploaded; "-" is standard output (-o). A replay empties a file first; a live sensor goes
        /// on behind what is in it, and on SIGHUP in the file that has the name by then, where that was moved. Default: "-".
        pub output: Option<PathBuf> = path().optional("-"),
        /// Print the ledger at the end, to standard error, as "text" or "json" (--ledger). Default: a replay does not, a live
        /// sensor does as text. Where its log is JSON (log.format) the ledger is, too, whatever is said here.
        pub ledger: Option<LedgerFormat> = choice().optional(LedgerFormat::Text),
        /// Print errors only: no progress, summary or warnings (--quiet).
        pub quiet: bool = flag().or(false),
        /// Where frames come from, live: any number of sections.
        pub capture: Vec<Capture> = tables(),
        /// What is kept of bodies.
        pub bodies: Bodies = table(),
        /// Tunnels and fragments.
        pub decap: Decap = table(),
        /// Time-outs and caps of TCP reassembly.
        pub reassembly: Reassembly = table(),
        /// Caps of HTTP parsing.
        pub http: Http = table(),
        /// What records say of clients, hosts, paths and networks.
        pub normalize: Normalize = table(),
        /// Which transactions are recorded.
        pub filters: Filters = table(),
        /// What is made unreadable before a record is stored, logged or sent.
        pub mask: Mask = table(),
        /// Where records are sent to.
        pub upload: Upload = table(),
        /// What is logged, and how.
        pub log: Log = table(),
        /// Health and metrics.
        pub status: Status = table(),
        /// Which processors the busy threads of a live sensor stay on, by the kernel's numbers; those that it may not use are
        /// refused.
        pub cpus: Cpus = table(),
        /// What a live sensor gives up once its sources are open.
        pub privileges: Privileges = table(),
    }
    check(this, reader) {
        let mut names: Vec<(&str, Place)> = Vec::new();
        for (index, capture) in this.capture.iter().enumerate() {
            let Some(name) = &capture.name else { continue };
            match names.iter().find(|(known, _)| known == name) {
                Some((_, place)) => {
                    let advice = format!("{place} has a [[capture]] of this name: give each its own");
                    reader.fault_in("capture", index, "name", advice);
                }
                None => names.push((name, reader.place_in("capture", index, "name"))),
            }
        }
    }
}

/// Whether a sensor can have this name.
///
/// # Errors
/// With what is wrong.
pub fn check_name(name: &str) -> Result<(), String> {
    if name.trim().is_empty() {
        return Err("the sensor's name is empty: give it one, such as edge-1, or leave it out".to_owned());
    }
    Ok(())
}

fn name() -> Parsed<String> {
    parsed("a name that is not empty", |name| check_name(name).map(|()| name.to_owned()))
}

/// A BPF expression. Rules about transactions once looked for a home here, and are sent on.
fn frame_filter() -> Parsed<String> {
    free_text().hidden().otherwise(
        "`filter` is a BPF expression over frames; rules about transactions are in [filters] and [[filters.rule]]",
    )
}
