//! Secrets out, everything else as it was.
//!
//! `masking` is sans-IO: it takes the values of an HTTP transaction one by one (header, target, body) and answers for
//! each with "keep" or with what is to stand in its place. It knows nothing of packets, records or files, starts
//! nothing, reads no clock, and never panics on any input.
//!
//! A [`Policy`] is made once from plain [`Settings`]; each worker has a [`Masker`]. What was found is listed as
//! [`Finding`]s, which hold names and places and never a value. [`Leaks`] looks for planted secrets in what leaves, to
//! prove that none does.
//!
//! ```
//! use std::sync::Arc;
//! use masking::{Masked, Masker, Policy, Settings, Side};
//!
//! let settings = Settings { key: vec![7; 32], ..Settings::default() };
//! let mut masker = Masker::new(Arc::new(Policy::new(&settings)?));
//! masker.begin();
//! let Masked::Replaced(value) = masker.header(Side::Request, b"Authorization", b"Bearer abc") else { panic!() };
//! assert!(value.starts_with(b"Bearer tok_"));
//! assert_eq!(masker.target(b"/v1/orders?page=2"), Masked::Kept);
//! assert_eq!(masker.findings().next().unwrap().field, "Authorization");
//! # Ok::<(), masking::InvalidSettings>(())
//! ```

mod action;
mod authority;
mod body;
mod carrier;
mod charset;
mod classes;
mod detect;
mod engine;
mod escapes;
mod finding;
mod form;
mod fpe_cipher;
mod header;
mod json;
mod json_path;
mod layer;
mod leaks;
mod marks;
mod markup;
mod masker;
mod media;
mod member;
mod names;
mod objects;
mod packed;
mod pairs;
mod parts;
mod pattern;
mod policy;
mod quiet;
mod region;
mod script;
mod target;
mod token;
mod walk;
mod wide;
mod xml;

pub use action::{Action, UnknownAction};
pub use carrier::{Carrier, Carriers};
pub use classes::HeaderKind;
pub use detect::{Detector, UnknownDetector};
pub use finding::{Finding, Location, MAX_FINDINGS, Side};
pub use leaks::{Form, Leak, Leaks};
pub use masker::{HeaderPlace, Masked, MaskedBody, Masker};
pub use policy::{FieldRule, InvalidSettings, PathRule, Pattern, Policy, Problem, Settings};
