//! `sensor demo`: the whole way once, on this machine alone: real captures, tunnels off, mutual TLS and OAuth to a
//! collector, and what that stored.

use std::fmt::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::{fs, io};

use collector::{ClientCertificates, Collector, Options, Order, Page, Secret, Stored, Tls, TokenIssuer};
use rcgen::{BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};
use serde_json::Value;

use super::args::{DemoArgs, ReplayArgs};
use super::collector::{wait_for, watched_flag};
use super::plan::Plan;
use super::{end_on_hangup, exit, print, say, start_logging};
use crate::progress::Progress;
use crate::replay::Outcome;
use crate::secrecy::keep_memory_private_or_warn;

/// What is replayed. The tunnels of the last two were put around real frames (demo/README.md); the third is the first one's
/// traffic, seen again through another mirror's network: stored once.
const CAPTURES: [(&str, &[u8]); 4] = [
    ("1-plain.pcap.gz", include_bytes!("../../../fixtures/captures/nginx-keep-alive.pcap.gz")),
    ("2-vxlan.pcap.gz", include_bytes!("../../../fixtures/captures/mirror-vxlan.pcap.gz")),
    ("3-gre.pcap.gz", include_bytes!("../../demo/gre.pcap.gz")),
    ("4-ipip.pcap.gz", include_bytes!("../../demo/ipip.pcap.gz")),
];
/// Rows of the table for each encapsulation.
const ROWS: usize = 4;
/// What the client is called towards the token endpoint.
const CLIENT: &str = "sensor-demo";

/// Why the demonstration could not be shown.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("cannot write to a temporary folder: {0}; set TMPDIR to one that has room")]
    Folder(#[from] io::Error),
    #[error("cannot make certificates: {0}")]
    Certificates(#[from] rcgen::Error),
    #[error("cannot start the collector: {0}")]
    Collector(#[from] collector::StartError),
    #[error("cannot read what the collector stored: {0}")]
    Store(#[from] collector::StoreError),
    #[error("{0}")]
    Usage(#[from] super::plan::UsageError),
    #[error("{0}")]
    Replay(#[from] crate::replay::ReplayError),
    #[error("the collector has {stored} transactions and {repeats} repeats of the {accepted} records it accepted")]
    Lost { stored: u64, repeats: u64, accepted: u64 },
    #[error("{0}")]
    Ledger(#[from] crate::ledger::Imbalance),
    #[error("the table could not be written")]
    Output,
    #[error("not every record was accepted: {0}")]
    Incomplete(String),
    #[error("stopped before the end; what was made is removed")]
    Interrupted,
}

/// Shows it.
pub(super) fn demo(args: &DemoArgs) -> u8 {
    start_logging(false);
    // Both sides' keys and secrets are in this process.
    keep_memory_private_or_warn();
    match show(args) {
        Ok(()) => exit::OK,
        Err(error) => {
            say(format_args!("error: {error}\n"));
            match error {
                Failure::Lost { .. } | Failure::Ledger(_) => exit::DEFECT,
                Failure::Interrupted => exit::INTERRUPTED,
                _ => exit::FAILED,
            }
        }
    }
}

fn show(args: &DemoArgs) -> Result<(), Failure> {
    // First of all: a signal would leave keys behind.
    let stop = watched_flag();
    end_on_hangup(&stop)?;
    let folder = tempfile::Builder::new()
        .prefix("sensor-demo-")
        // There are keys in it.
        .permissions(fs::Permissions::from_mode(0o700))
        .tempdir()?;
    let at = folder.path();
    say(format_args!("certificates: an authority, a server, a client, in {}\n", at.display()));
    make_certificates(at)?;
    let secret = KeyPair::generate()?.serialize_der().iter().take(24).fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    });
    fs::write(at.join("client-secret"), &secret)?;
    let collector = Collector::start(Options {
        tls: Some(Tls {
            certificate: at.join("server.pem"),
            key: at.join("server.key"),
            client_ca: Some(at.join("ca.pem")),
            client_certificates: ClientCertificates::Demanded,
        }),
        view: args.keep.then(|| ([127, 0, 0, 1], 0).into()),
        clients: Some(TokenIssuer {
            client_id: CLIENT.to_owned(),
            client_secret: Secret::new(secret),
            lifetime: std::time::Duration::from_secs(1800),
            realm: "cequence".to_owned(),
        }),
        ..Options::default()
    })?;
    let url = format!("https://{}", collector.address());
    say(format_args!("collector:    {url} (mutual TLS and OAuth; a stand-in for the platform)\n"));
    fs::write(at.join("sensor.toml"), configuration(at, &url))?;
    let mut captures = Vec::with_capacity(CAPTURES.len());
    for (name, bytes) in CAPTURES {
        fs::write(at.join(name), bytes)?;
        captures.push(at.join(name));
    }
    say(format_args!("captures:     plain, VXLAN, GRE, IP-IP\n\n"));

    let replay = ReplayArgs { config: Some(at.join("sensor.toml")), ..ReplayArgs::upload_of(captures) };
    let outcome = Plan::resolve(replay)?.into_replay(Arc::clone(&stop)).run(&Progress::none())?;
    if outcome.was_interrupted {
        return Err(Failure::Interrupted);
    }
    report(&outcome, &collector)?;
    if args.keep {
        if let Some(view) = collector.view() {
            say(format_args!("\nwhat is stored: http://{view}/\n"));
        }
        let config = at.join("sensor.toml");
        say(format_args!(
            "send more:      sensor replay --upload --config {} FILE\nCtrl-C ends it and removes the folder.\n",
            config.display()
        ));
        wait_for(&stop);
    }
    collector.shutdown();
    Ok(())
}

/// Shows what was stored, and holds it against what was sent.
fn report(outcome: &Outcome, collector: &Collector) -> Result<(), Failure> {
    let Some(store) = collector.store() else { return Ok(()) };
    let page = Page { limit: 1_000, order: Order::Oldest, after: None, records: true };
    let listing = store.transactions(&collector::Filter::default(), &page)?;
    if print(table(&listing.transactions).as_bytes()) != exit::OK {
        return Err(Failure::Output);
    }
    let totals = store.totals()?;
    say(format_args!(
        "\n{} transactions stored; {} came a second time, through the mirror in GRE, and were recognized by their ids\n\n{}",
        totals.stored, totals.duplicates, outcome.ledger
    ));
    outcome.ledger.check()?;
    let Some(delivery) = outcome.delivery else { return Ok(()) };
    let accepted = delivery.records.accepted;
    if !delivery.complete || accepted != outcome.ledger.recorded {
        return Err(Failure::Incomplete(format!("{accepted} of {}", outcome.ledger.recorded)));
    }
    if totals.stored + totals.duplicates != accepted {
        return Err(Failure::Lost { stored: totals.stored, repeats: totals.duplicates, accepted });
    }
    Ok(())
}

/// A few rows of each encapsulation.
fn table(stored: &[Stored]) -> String {
    let mut text = format!(
        "{:<24} {:<10} {:<18} {:<6} {:<44} {}\n",
        "TIME", "MIRROR", "CLIENT", "METHOD", "HOST AND PATH", "STATUS"
    );
    let mut shown: Vec<(String, usize, usize)> = Vec::new();
    for stored in stored {
        let record: Value = serde_json::from_str(&stored.record).unwrap_or_default();
        let mirror = record
            .pointer("/txn-meta-data/data_extractions/tunnels/0/kind")
            .and_then(Value::as_str)
            .unwrap_or("plain")
            .to_owned();
        let place = shown.iter().position(|(name, ..)| *name == mirror).unwrap_or_else(|| {
            shown.push((mirror.clone(), 0, 0));
            shown.len() - 1
        });
        shown[place].2 += 1;
        if shown[place].1 == ROWS {
            continue;
        }
        shown[place].1 += 1;
        let summary = &stored.summary;
        let part = |part: &Option<String>| part.clone().unwrap_or_default();
        let target: String = format!("{}{}", part(&summary.host), part(&summary.path)).chars().take(44).collect();
        let status = summary.status.map_or_else(|| "-".to_owned(), |status| status.to_string());
        let _ = writeln!(
            text,
            "{:<24} {mirror:<10} {:<18} {:<6} {target:<44} {status}",
            summary.time_text(),
            summary.client,
            part(&summary.method)
        );
    }
    let rest: Vec<String> = shown
        .iter()
        .filter(|(_, some, all)| all > some)
        .map(|(mirror, some, all)| format!("{} more {mirror}", all - some))
        .collect();
    if !rest.is_empty() {
        let _ = writeln!(text, "… and {}", rest.join(", "));
    }
    text
}

fn configuration(at: &Path, url: &str) -> String {
    let at = at.display();
    format!(
        "sensor = \"demo\"\n\n[upload]\nurl = \"{url}\"\nproxy = \"none\"\npool_id = \"demo\"\n\n[upload.tls]\nca = \"{at}/ca.pem\"\n\
         certificate = \"{at}/client.pem\"\nkey = \"{at}/client.key\"\n\n[upload.oauth]\n\
         token_url = \"{url}/auth/realms/cequence/protocol/openid-connect/token\"\nclient_id = \"{CLIENT}\"\n\
         client_secret_file = \"{at}/client-secret\"\n\n[upload.oauth.tls]\nca = \"{at}/ca.pem\"\n\
         certificate = \"{at}/client.pem\"\nkey = \"{at}/client.key\"\n\n[upload.spool]\nfolder = \"{at}/spool\"\n"
    )
}

/// An authority, and a certificate each for server and client.
fn make_certificates(at: &Path) -> Result<(), Failure> {
    let mut parameters = CertificateParams::new(Vec::new())?;
    parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    parameters.distinguished_name.push(DnType::CommonName, "sensor demo authority");
    let key = KeyPair::generate()?;
    let authority = parameters.self_signed(&key)?;
    fs::write(at.join("ca.pem"), authority.pem())?;
    let issuer = Issuer::new(parameters, key);
    for (name, hosts, purpose) in [
        ("server", vec!["127.0.0.1".to_owned(), "localhost".to_owned()], ExtendedKeyUsagePurpose::ServerAuth),
        ("client", Vec::new(), ExtendedKeyUsagePurpose::ClientAuth),
    ] {
        let mut parameters = CertificateParams::new(hosts)?;
        parameters.distinguished_name.push(DnType::CommonName, format!("sensor demo {name}"));
        parameters.extended_key_usages = vec![purpose];
        let key = KeyPair::generate()?;
        let certificate = parameters.signed_by(&key, &issuer)?;
        fs::write(at.join(format!("{name}.pem")), certificate.pem())?;
        fs::write(at.join(format!("{name}.key")), key.serialize_pem())?;
    }
    Ok(())
}
