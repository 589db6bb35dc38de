//! Delivery: what the configuration says, as the uploader takes it, and an outlet that feeds it.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use uploader::{
    AnswerRule, Batch, BatchLimits, Batcher, Coding, Control, Destination, DrainReport, Envelope, FileSettings,
    HttpVersions, HttpsSettings, IdentityFiles, Intake, OAuthSettings, ProxySettings, RecordId, RetrySettings,
    SecretSource, Shrink, SpoolSettings, StartError, Stats, TlsSettings, TlsVersion, Uploader,
};

use crate::config::{self, RecordShape};
use crate::dispatch::WhenFull;
use crate::outlet::Outlet;
use crate::record::{self, EdgeOptions, HeaderValues, Sealed, Shape};
use crate::secrecy::keep_memory_private_or_warn;

/// How long in all, from an interruption on, room is still waited for: a platform that takes batches gets those on the way.
const LAST_WAIT: Duration = Duration::from_secs(1);

/// Where to, and how: from `[upload]`.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// What the uploader is told.
    pub settings: uploader::Settings,
    /// Where batches go.
    pub destination: Destination,
    /// What a record looks like there.
    pub shape: Shape,
}

impl Delivery {
    /// What `[upload]` asks for; `None` where it names neither a platform nor a file. `name` is the sensor's.
    #[must_use]
    pub fn from_config(upload: &config::Upload, name: &str) -> Option<Self> {
        let destination = match (&upload.url, &upload.file) {
            (Some(url), _) => Destination::Https(Box::new(https(upload, url))),
            (None, Some(file)) => Destination::File(FileSettings {
                rotate_bytes: file.rotate_bytes.0,
                rotate_age: Some(file.rotate_age),
                keep: Some(file.keep),
                ..FileSettings::new(&file.path)
            }),
            (None, None) => return None,
        };
        let to_file = matches!(destination, Destination::File(_));
        let is_edge = upload.shape == RecordShape::Edge;
        let envelope = if is_edge && !to_file { Envelope::edge_batch() } else { Envelope::lines() };
        let settings = uploader::Settings {
            batch: BatchLimits {
                records: upload.batch.records,
                bytes: upload.batch.bytes.as_usize(),
                age: upload.batch.age,
            },
            envelope,
            coding: match upload.compression {
                // A file is read by whoever comes along; packing it is for log rotation.
                _ if to_file => Coding::Identity,
                config::Compression::None => Coding::Identity,
                config::Compression::Gzip => Coding::Gzip,
                config::Compression::Zstd => Coding::Zstd,
            },
            memory_bytes: upload.queue_bytes.0,
            spool: upload.spool.as_ref().map(|spool| SpoolSettings {
                bytes: spool.max_bytes.0,
                sync: match spool.sync {
                    config::SpoolSync::Batch => uploader::SpoolSync::Batch,
                    config::SpoolSync::None => uploader::SpoolSync::None,
                },
                grace: spool.grace,
                dead_letter_bytes: spool.dead_letter_bytes.0,
                ..SpoolSettings::new(&spool.folder)
            }),
            retry: RetrySettings { in_flight: upload.in_flight, ..RetrySettings::default() },
            ..uploader::Settings::default()
        };
        let shape = if is_edge { edge_shape(upload, name) } else { Shape::Native };
        Some(Self { settings, destination, shape })
    }

    /// Starts to deliver. From now on the process holds secrets, and keeps its memory to itself.
    ///
    /// # Errors
    /// When the settings contradict each other, or spool, certificates or threads cannot be had.
    pub fn start(&self) -> Result<Uploader, StartError> {
        let shrink: Option<Arc<dyn Shrink>> = match &self.shape {
            Shape::Edge(edge) => Some(Arc::new(WithoutBodies(edge.header_values))),
            Shape::Native => None,
        };
        keep_memory_private_or_warn();
        Uploader::start_to(self.settings.clone(), &self.destination, shrink)
    }
}

/// What a record is cut down to when the platform says that it alone is too large.
struct WithoutBodies(HeaderValues);

impl Shrink for WithoutBodies {
    fn shrink(&self, record: &[u8]) -> Option<Vec<u8>> {
        record::without_bodies(record, self.0)
    }
}

/// The platform's shape with what `[upload]` says about it. `name` is the sensor's.
#[must_use]
pub fn edge_shape(upload: &config::Upload, name: &str) -> Shape {
    Shape::Edge(EdgeOptions {
        version: upload.version.clone(),
        pool_id: upload.pool_id.clone().unwrap_or_default(),
        header_values: match upload.header_values {
            config::HeaderValues::Base64 => HeaderValues::Base64,
            config::HeaderValues::Text => HeaderValues::Text,
        },
        instance_id: upload.instance_id.clone().unwrap_or_else(|| host_name().unwrap_or_else(|| name.to_owned())),
        ..EdgeOptions::default()
    })
}

fn host_name() -> Option<String> {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").ok()?;
    let name = name.trim();
    (!name.is_empty() && name != "(none)").then(|| name.to_owned())
}

fn https(upload: &config::Upload, url: &str) -> HttpsSettings {
    HttpsSettings {
        tls: tls(&upload.tls),
        oauth: upload.oauth.as_ref().map(oauth),
        proxy: match &upload.proxy {
            Some(none) if none == config::NO_PROXY => ProxySettings::None,
            Some(proxy) => ProxySettings::Explicit { url: proxy.clone(), no_proxy: String::new() },
            None => ProxySettings::Environment,
        },
        http: match upload.http {
            config::HttpVersion::Http1 => HttpVersions::Http1,
            config::HttpVersion::Http2 => HttpVersions::Any,
        },
        answer: match upload.accepted {
            config::Accepted::Status => AnswerRule::Status,
            config::Accepted::AnySuccess => AnswerRule::AnySuccess,
        },
        connect_timeout: upload.connect_timeout,
        timeout: upload.timeout,
        ..HttpsSettings::new(format!("{url}{}", upload.path))
    }
}

fn oauth(oauth: &config::OAuth) -> OAuthSettings {
    let secret = match (&oauth.client_secret_file, &oauth.client_secret_env, &oauth.client_secret_credential) {
        (Some(file), ..) => SecretSource::File(file.clone()),
        (None, Some(variable), _) => SecretSource::Environment(variable.clone()),
        // The configuration is checked: one of the three is there.
        (None, None, credential) => SecretSource::Credential(credential.clone().unwrap_or_default()),
    };
    OAuthSettings {
        scope: oauth.scope.clone(),
        tls: tls(&oauth.tls),
        ..OAuthSettings::new(&oauth.token_url, &oauth.client_id, secret)
    }
}

fn tls(tls: &config::Tls) -> TlsSettings {
    TlsSettings {
        identity: tls
            .certificate
            .clone()
            .zip(tls.key.clone())
            .map(|(certificate, key)| IdentityFiles { certificate, key }),
        ca: tls.ca.clone(),
        server_name: tls.server_name.clone(),
        min_version: match tls.min_version {
            config::TlsVersion::Tls12 => TlsVersion::Tls12,
            config::TlsVersion::Tls13 => TlsVersion::Tls13,
        },
        ..TlsSettings::default()
    }
}

/// Gathers sealed records into batches and hands these to an uploader.
#[derive(Debug)]
pub struct UploadOutlet {
    batcher: Batcher,
    intake: Intake,
    uploader: Option<Uploader>,
    stats: Arc<Stats>,
    when_full: WhenFull,
    /// The uploader has ended: it takes nothing further.
    is_closed: bool,
    /// Set from outside: certificates are to be read again.
    reload: Arc<AtomicBool>,
    /// Set from outside: nobody is to wait for room much longer.
    interrupted: Arc<AtomicBool>,
    /// From when on nobody does.
    gives_up: Option<Instant>,
}

impl UploadOutlet {
    /// An outlet to `uploader`, which it owns. A full uploader is waited for, or refuses, as `when_full` says.
    #[must_use]
    pub fn new(uploader: Uploader, when_full: WhenFull) -> Self {
        Self {
            batcher: uploader.batcher(),
            intake: uploader.intake(),
            stats: uploader.stats(),
            uploader: Some(uploader),
            when_full,
            is_closed: false,
            reload: Arc::default(),
            interrupted: Arc::default(),
            gives_up: None,
        }
    }

    /// What the uploader counts.
    #[must_use]
    pub fn stats(&self) -> Arc<Stats> {
        Arc::clone(&self.stats)
    }

    /// What changes the uploader while it runs.
    #[must_use]
    pub fn control(&self) -> Option<Control> {
        self.uploader.as_ref().map(Uploader::control)
    }

    /// A flag that has certificates and authorities read again soon after it is set.
    #[must_use]
    pub fn reload_flag(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.reload)
    }

    /// The same, but once `interrupted` is set room is waited for a second longer, and what finds none is dropped and
    /// counted.
    pub fn heed(&mut self, interrupted: &Arc<AtomicBool>) {
        self.interrupted = Arc::clone(interrupted);
    }

    /// Hands over what is gathered, and waits up to `patience` for everything to be delivered.
    pub fn drain(mut self, patience: Duration) -> Option<DrainReport> {
        self.flush();
        self.uploader.take().map(|uploader| uploader.drain(patience))
    }

    /// Has certificates and authorities read again if that flag is set. Whoever waits asks this now and then.
    pub fn reload_if_told(&self) {
        if self.reload.swap(false, Ordering::Relaxed)
            && let Some(uploader) = &self.uploader
        {
            uploader.reload();
        }
    }

    fn hand_over(&mut self, batch: Batch) {
        match self.when_full {
            // It is refused once the uploader has ended, or nobody waits any more, and counted there.
            WhenFull::Wait => {
                let mut gives_up = self.gives_up;
                let submitted = self.intake.submit_while(batch, || {
                    // A new certificate may be what the platform waits for.
                    self.reload_if_told();
                    let is_interrupted = self.interrupted.load(Ordering::Relaxed);
                    !is_interrupted || Instant::now() < *gives_up.get_or_insert_with(|| Instant::now() + LAST_WAIT)
                });
                self.gives_up = gives_up;
                self.is_closed |= submitted.is_err() && gives_up.is_none();
            }
            // A refused batch is counted as dropped by the uploader.
            WhenFull::Drop => drop(self.intake.offer(batch)),
        }
    }
}

impl Outlet for UploadOutlet {
    fn accept(&mut self, records: &Sealed<'_>) -> ControlFlow<()> {
        let now = Instant::now();
        for (id, record) in records.iter() {
            if let Some(batch) = self.batcher.push(RecordId(*id.as_bytes()), record, now) {
                self.hand_over(batch);
            }
        }
        if self.is_closed { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }

    fn pulse(&mut self) {
        self.reload_if_told();
        if let Some(batch) = self.batcher.due(Instant::now()) {
            self.hand_over(batch);
        }
    }

    fn flush(&mut self) {
        if let Some(batch) = self.batcher.flush() {
            self.hand_over(batch);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proxy_is_named_or_taken_from_the_environment_or_left_out() {
        let proxy = |proxy: Option<&str>| {
            let upload = config::Upload { proxy: proxy.map(str::to_owned), ..config::Upload::default() };
            https(&upload, "https://edge.example").proxy
        };
        assert_eq!(proxy(None), ProxySettings::Environment);
        assert_eq!(proxy(Some("none")), ProxySettings::None);
        let named = ProxySettings::Explicit { url: "http://proxy:3128".to_owned(), no_proxy: String::new() };
        assert_eq!(proxy(Some("http://proxy:3128")), named);
    }

    /// What the platform's makers have yet to confirm can be set.
    #[test]
    fn values_and_answers_are_as_configured() {
        let url = Some("https://edge.example".to_owned());
        let settings = |upload: &config::Upload| {
            let delivery = Delivery::from_config(upload, "here").unwrap();
            match (delivery.destination, delivery.shape) {
                (Destination::Https(https), Shape::Edge(edge)) => (https.answer, edge.header_values),
                other => panic!("{other:?}"),
            }
        };
        let plain = config::Upload { url, ..config::Upload::default() };
        assert_eq!(settings(&plain), (AnswerRule::Status, HeaderValues::Base64));
        let other = config::Upload {
            header_values: config::HeaderValues::Text,
            accepted: config::Accepted::AnySuccess,
            ..plain
        };
        assert_eq!(settings(&other), (AnswerRule::AnySuccess, HeaderValues::Text));
    }
}
