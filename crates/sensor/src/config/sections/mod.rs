//! The sections, each declared once: see [`super::section`].

mod bodies;
mod capture;
mod cpus;
mod decap;
mod filters;
mod http;
mod log;
mod mask;
mod normalize;
mod privileges;
mod reassembly;
mod root;
mod status;
mod tls;
mod upload;

pub use bodies::Bodies;
pub use capture::{Capture, CaptureDecap, Encapsulation};
pub use cpus::Cpus;
pub use decap::Decap;
pub use filters::{Filters, Rule, RuleKind, RuleSet, Sample};
pub use http::Http;
pub use log::{Log, LogFormat, LogLevel};
pub use mask::{Detector, Mask, MaskPattern};
pub use normalize::{AddressSource, Names, Normalize};
pub use privileges::Privileges;
pub use reassembly::Reassembly;
pub use root::{Config, LedgerFormat, MAX_WORKERS, check_name};
pub use status::Status;
pub use tls::{Tls, TlsVersion};
pub use upload::{
    Accepted, Batch, Compression, HeaderValues, HttpVersion, NO_PROXY, OAuth, RecordShape, Spool, SpoolSync, Upload,
    UploadFile,
};

/// What declarations are written with.
mod prelude {
    pub(super) use crate::config::kind::*;
    pub(super) use crate::config::section::{Field as _, optional_table, section, table, tables};
    pub(super) use crate::units::ByteSize;
}
