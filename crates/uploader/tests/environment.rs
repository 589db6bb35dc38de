//! What comes from the environment: a proxy, and secrets. Each case is a process of its own.

mod support;

use std::process::Command;
use std::time::Duration;

use support::{Authority, Platform, Proxy, https, settings, submit};
use uploader::{HttpsSettings, HttpsTransport, IdentityFiles, ProxySettings, SecretSource, Uploader};

const CASE: &str = "UPLOADER_TEST_CASE";

/// What runs in the environment under test; without its variable, nothing.
#[test]
fn child() {
    match std::env::var(CASE).as_deref() {
        Ok("proxy") => {
            let variable = |name: &str| std::env::var(name).unwrap();
            let folder = tempfile::tempdir().unwrap();
            let mut settings_https = HttpsSettings::new(variable("TEST_URL"));
            settings_https.tls.ca = Some(variable("TEST_CA").into());
            settings_https.tls.identity =
                Some(IdentityFiles { certificate: variable("TEST_CRT").into(), key: variable("TEST_KEY").into() });
            assert_eq!(settings_https.proxy, ProxySettings::Environment);
            let transport = HttpsTransport::new(&settings_https).unwrap();
            let uploader = Uploader::start(settings(folder.path()), transport).unwrap();
            submit(&uploader, 0..10, 10);
            assert!(uploader.drain(Duration::from_secs(20)).complete);
        }
        Ok("secrets") => {
            assert_eq!(SecretSource::Environment("TEST_SECRET".into()).read().unwrap().expose(), "from-environment");
            assert_eq!(SecretSource::Credential("client-secret".into()).read().unwrap().expose(), "from-systemd");
            assert!(SecretSource::Credential("other".into()).read().is_err());
            assert!(SecretSource::Credential("../client-secret".into()).read().is_err());
        }
        _ => {}
    }
}

fn run(case: &str, variables: &[(&str, &str)]) {
    let mut command = Command::new(std::env::current_exe().unwrap());
    for name in ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy", "NO_PROXY", "no_proxy"] {
        command.env_remove(name);
    }
    command.args(["--exact", "child"]).env(CASE, case).envs(variables.iter().copied());
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

#[test]
fn the_proxy_that_the_environment_names() {
    let authority = Authority::new();
    let (platform, proxy) = (Platform::start(&authority), Proxy::start());
    let settings_https = https(&authority, &platform);
    let identity = settings_https.tls.identity.unwrap();
    let (url, proxy_url) = (platform.url(), proxy.url());
    let mut variables = vec![
        ("TEST_URL", url.as_str()),
        ("TEST_CA", authority.certificate.to_str().unwrap()),
        ("TEST_CRT", identity.certificate.to_str().unwrap()),
        ("TEST_KEY", identity.key.to_str().unwrap()),
        ("HTTPS_PROXY", &proxy_url),
    ];
    run("proxy", &variables);
    assert_eq!(*proxy.targets.lock().unwrap(), [platform.address.to_string()]);
    variables.push(("NO_PROXY", "localhost,127.0.0.0/8"));
    run("proxy", &variables);
    assert_eq!(proxy.targets.lock().unwrap().len(), 1);
    assert_eq!(platform.stored().values().sum::<u64>(), 20);
}

#[test]
fn secrets_from_the_environment_and_from_systemd() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("client-secret"), "from-systemd\n").unwrap();
    let credentials = folder.path().to_str().unwrap();
    run("secrets", &[("TEST_SECRET", "from-environment"), ("CREDENTIALS_DIRECTORY", credentials)]);
}
