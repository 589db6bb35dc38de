//! Nowhere: what is sent is taken as accepted.

use std::sync::Arc;

use super::{Apply, Transport, TransportError};
use crate::outcome::Outcome;
use crate::sealed::SealedBatch;
use crate::settings::Destination;

/// Accepts everything and keeps nothing; for measurements.
#[derive(Clone, Copy, Debug, Default)]
pub struct NullTransport;

impl Transport for NullTransport {
    async fn send(&self, _: &SealedBatch) -> Outcome {
        Outcome::Accepted
    }

    fn prepare(self: &Arc<Self>, destination: &Destination) -> Result<Option<Apply>, TransportError> {
        Ok(matches!(destination, Destination::Null).then(|| Box::new(|| {}) as Apply))
    }

    fn takes_any_envelope(&self) -> bool {
        true
    }
}
