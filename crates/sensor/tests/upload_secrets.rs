//! The client's secret, tokens and private keys are in nothing that the sensor says or leaves behind, whatever goes wrong
//! and however much it is asked to log.

mod upload_support;

use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;

use collector::{Collector, Fault};
use upload_support::{SECRET, Site, leaves_no_core, sensor, text, upload, wait_until};

/// What must not be found: the secret in three codings, what every token begins with, and lines of the private keys.
struct Secrets(Vec<(&'static str, Vec<u8>)>);

impl Secrets {
    fn of(site: &Site) -> Self {
        let hex = SECRET.bytes().map(|byte| format!("{byte:02x}")).collect::<String>();
        let mut all = vec![
            ("the client's secret", SECRET.as_bytes().to_vec()),
            ("the client's secret, in hexadecimal", hex.into_bytes()),
            ("the client's secret as a list of bytes", format!("{:?}", SECRET.as_bytes()).into_bytes()),
            ("the other secret", b"another-secret-entirely".to_vec()),
            ("a token of the scripted endpoint", b"tok-9d1c7e5f20b84".to_vec()),
            ("a private key", b"PRIVATE KEY".to_vec()),
            ("the proxy's password", b"hunter2-of-the-proxy".to_vec()),
            // As Proxy-Authorization has it: from `me:` on, without the end that depends on what follows.
            ("the proxy's password in base64", b"bWU6aHVudGVyMi1vZi10aGUtcHJveH".to_vec()),
        ];
        for name in ["client.key", "other-client.key"] {
            let pem = std::fs::read_to_string(site.at(name)).unwrap();
            let lines = pem.lines().filter(|line| !line.starts_with("-----") && line.len() >= 20);
            all.extend(lines.map(|line| ("a line of a private key", line.as_bytes().to_vec())));
        }
        Self(all)
    }

    fn look(&self, place: &str, bytes: &[u8]) {
        for (name, secret) in &self.0 {
            assert!(!bytes.windows(secret.len()).any(|window| window == secret), "{name} is in {place}");
        }
    }

    /// All files below a folder.
    fn look_below(&self, folder: &Path) -> usize {
        let mut files = 0;
        for entry in std::fs::read_dir(folder).into_iter().flatten() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                files += self.look_below(&path);
            } else {
                files += 1;
                self.look(&path.display().to_string(), &std::fs::read(&path).unwrap());
            }
        }
        files
    }

    /// Runs it at the most talkative, and looks through all it says.
    fn run(&self, name: &str, mut command: Command) -> (Option<i32>, String) {
        let run = command.env("SENSOR_LOG", "trace").env("RUST_BACKTRACE", "full").output().unwrap();
        self.look(&format!("standard output of {name}"), &run.stdout);
        self.look(&format!("standard error of {name}"), &run.stderr);
        (run.status.code(), text(&run.stdout) + &text(&run.stderr))
    }
}

/// One who issues a known token over plain HTTP, and refuses or breaks off everything else, quoting what was sent.
fn scripted() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { continue };
            std::thread::spawn(move || {
                let mut buffer = vec![0; 1 << 20];
                let mut seen = Vec::new();
                // One request to a connection: its head, and as much of its body as comes with it.
                while !seen.windows(4).any(|window| window == b"\r\n\r\n") {
                    match stream.read(&mut buffer) {
                        Ok(0) | Err(_) => return,
                        Ok(count) => seen.extend_from_slice(&buffer[..count]),
                    }
                }
                let head = text(&seen);
                let token = head.starts_with("POST /token");
                let body = if token {
                    r#"{"access_token":"tok-9d1c7e5f20b84","expires_in":1800,"token_type":"Bearer"}"#.to_owned()
                } else {
                    let quoted = head.lines().take(12).collect::<Vec<_>>().join("\\n");
                    format!("{{\"error\":\"you sent {quoted}\"}}")
                };
                let status = if token { "200 OK" } else { "403 Forbidden" };
                let _ = write!(
                    stream,
                    "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
                    body.len()
                );
                // What is still on its way is read, so that closing does not reset the answer.
                let _ = stream.set_read_timeout(Some(std::time::Duration::from_millis(300)));
                while matches!(stream.read(&mut buffer), Ok(count) if count > 0) {}
            });
        }
    });
    port
}

#[test]
fn nothing_that_is_said_or_kept_holds_a_secret() {
    let site = Site::new();
    let collector: Collector = site.collector();
    let port = collector.address().port();
    let secrets = Secrets::of(&site);
    let capture = site.capture(1);
    std::fs::write(site.at("wrong-secret"), "another-secret-entirely\n").unwrap();

    // All well, after a 401 and an outage.
    collector.faults().add("reject-token,count=2".parse::<Fault>().unwrap()).unwrap();
    collector.faults().add("status=503,count=1".parse::<Fault>().unwrap()).unwrap();
    let good = site.configuration("good", port, |text| text);
    let (code, said) = secrets.run("an upload", upload(&good, &capture));
    assert_eq!(code, Some(0), "{said}");
    // Otherwise it has been silent, and proves nothing.
    assert!(said.contains("TRACE") || said.contains("DEBUG"), "nothing was traced:\n{said}");

    // A wrong secret: nothing is delivered, and the check says why.
    let wrong = site.configuration("wrong", port, |text| text.replace("/client-secret", "/wrong-secret"));
    for (name, config) in [("a check", &good), ("a check with a wrong secret", &wrong)] {
        let mut check = sensor();
        check.args(["check", "--config"]).arg(config);
        let (code, said) = secrets.run(name, check);
        assert_eq!(code, Some(i32::from(config == &wrong)), "{said}");
    }
    // Through a proxy that wants a password, and is not there.
    let mut check = sensor();
    check.args(["check", "--config"]).arg(&good).env("HTTPS_PROXY", "http://me:hunter2-of-the-proxy@127.0.0.1:1");
    let (code, said) = secrets.run("a check through a proxy", check);
    assert!(code == Some(1) && said.contains("through the proxy 127.0.0.1:1"), "{said}");
    let mut print = sensor();
    print.args(["config", "--print", "--config"]).arg(&good);
    assert_eq!(secrets.run("the configuration in force", print).0, Some(0));

    // A platform that quotes token and all in its refusal, which is kept in the dead-letter folder.
    let quoting = scripted();
    let config = site.configuration("quoting", quoting, |text| {
        text.replace("https://", "http://").replace(upload_support::TOKEN_PATH, "/token").replace("/spool", "/quoted")
    });
    let (code, said) = secrets.run("an upload that is refused", upload(&config, &capture));
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("refused by the platform"), "{said}");

    // A key that belongs to another certificate, and a file that is no key.
    for (name, key) in [("other", "other-client.key"), ("none", "client-secret")] {
        let config = site.configuration(name, port, |text| text.replace("client.key", key));
        let (code, said) = secrets.run(name, upload(&config, &capture));
        assert_eq!(code, Some(2), "{name}: {said}");
    }
    assert!(secrets.look_below(&site.at("quoted")) > 0, "nothing was kept to look at");
    secrets.look_below(&site.at("spool"));
    collector.shutdown();
}

/// While it holds secrets it leaves no core dump, however it ends.
#[test]
fn no_core_dump_holds_a_secret() {
    let site = Site::new();
    let collector: Collector = site.collector();
    collector.faults().add("hang,count=all".parse::<Fault>().unwrap()).unwrap();
    let config = site.configuration("sensor", collector.address().port(), |text| text);
    let mut child = upload(&config, &site.capture(1))
        .current_dir(site.at(""))
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    wait_until("a request", || collector.stats().faults.values().sum::<u64>() > 0);
    leaves_no_core(child.id());
    // As a crash would end it.
    fixtures::signal(child.id(), "SIGABRT");
    let status = child.wait().unwrap();
    assert!(!std::os::unix::process::ExitStatusExt::core_dumped(&status), "{status}");
    let cores = std::fs::read_dir(site.at("")).unwrap();
    assert!(!cores.into_iter().any(|entry| entry.unwrap().file_name().to_string_lossy().starts_with("core")));
    Secrets::of(&site).look_below(&site.at("spool"));
    collector.kill();
}

/// Nor does the collector, which has the secret, too.
#[test]
fn no_core_dump_of_a_collector_holds_a_secret() {
    let site = Site::new();
    let mut collector = sensor();
    collector.args(["collector", "--listen", "127.0.0.1:0", "--client-id", "me", "--client-secret-file"]);
    collector.arg(site.at("client-secret")).arg("--certificate").arg(site.at("server.pem"));
    collector.arg("--key").arg(site.at("server.key")).arg("--client-ca").arg(site.at("ca.pem"));
    let mut child = collector.current_dir(site.at("")).stderr(std::process::Stdio::piped()).spawn().unwrap();
    let mut said = [0; 10];
    child.stderr.as_mut().unwrap().read_exact(&mut said).unwrap();
    assert_eq!(&said, b"collecting");
    leaves_no_core(child.id());
    // Of a process that may be dumped, these would be its user's.
    let owner =
        std::os::unix::fs::MetadataExt::uid(&std::fs::metadata(format!("/proc/{}/environ", child.id())).unwrap());
    assert_eq!(owner, 0);
    fixtures::signal(child.id(), "SIGABRT");
    let status = child.wait().unwrap();
    assert!(!std::os::unix::process::ExitStatusExt::core_dumped(&status), "{status}");
}
