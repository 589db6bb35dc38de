//! The platform's stand-in: takes what a sensor delivers, stores each transaction once, and shows what it has.
//!
//! It is what a newcomer and every test run against. It is not the platform: it analyses nothing, keeps one table, and is as
//! strict with the wire contract as the platform may or may not be. A [`Collector`] runs in a process beside whatever else the
//! process does; [`Faults`] make it misbehave on demand; the [`Store`] answers from Rust as `GET /transactions` does over HTTP.
//!
//! A request's body is read within limits, its content coding undone within limits, parsed without building a tree, and stored
//! in one database transaction: 200 means that all of it is on the disk, any other answer that nothing of it is.
//!
//! ```
//! use collector::{Collector, Filter, Options, Page};
//!
//! let collector = Collector::start(Options::default()).unwrap();
//! println!("send records to http://{}/api-transactions", collector.address());
//! let listing = collector.store().unwrap().transactions(&Filter::default(), &Page::default()).unwrap();
//! assert!(listing.transactions.is_empty());
//! collector.shutdown();
//! ```

#![forbid(unsafe_code)]

mod app;
mod body;
mod command;
mod edge;
mod fault;
mod ingest;
mod misbehave;
mod native;
mod null;
mod options;
mod page;
mod query;
mod record;
mod refusal;
mod secret;
mod server;
mod stats;
mod store;
mod tls;
mod token_endpoint;
mod tokens;
mod view;
mod wire;

pub use command::{Arguments, SECRET_VARIABLE};
pub use fault::{Action, Fault, FaultSyntax, Faults, Stage};
pub use options::{ClientCertificates, Options, StartError, StoreKind, TimeLimits, Tls, TokenIssuer};
pub use query::{Cursor, Filter, Listing, MAX_PAGE, Order, Page, StatusFilter, Stored, Summary};
pub use record::Shape;
pub use secret::Secret;
pub use server::Collector;
pub use stats::Stats;
pub use store::{MEMORY_STORE_LIMIT, Store, StoreError, Totals};
