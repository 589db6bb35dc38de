//! Standard output: one record a line.

use std::io::Write;
use std::sync::Arc;

use super::file::write_lines;
use super::{Apply, Transport, TransportError};
use crate::outcome::{Outcome, RetryReason};
use crate::sealed::SealedBatch;
use crate::settings::Destination;

/// Writes records to standard output, one a line, whole batches at a time.
#[derive(Clone, Copy, Debug, Default)]
pub struct StdoutTransport;

impl Transport for StdoutTransport {
    async fn send(&self, batch: &SealedBatch) -> Outcome {
        let batch = batch.clone();
        // A pipe may block for as long as its reader likes.
        let written = tokio::task::spawn_blocking(move || {
            let mut lines = Vec::new();
            write_lines(&batch, &mut lines)?;
            let mut out = std::io::stdout().lock();
            out.write_all(&lines)?;
            out.flush()
        });
        match written.await {
            Ok(Ok(())) => Outcome::Accepted,
            _ => Outcome::retry(RetryReason::Local),
        }
    }

    fn prepare(self: &Arc<Self>, destination: &Destination) -> Result<Option<Apply>, TransportError> {
        Ok(matches!(destination, Destination::Stdout).then(|| Box::new(|| {}) as Apply))
    }

    fn takes_any_envelope(&self) -> bool {
        true
    }
}
