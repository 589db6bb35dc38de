//! The configuration as a whole: what is read from files, folders and the environment, and what is generated.

use std::ffi::OsString;
use std::fs;
use std::path::Path;

use proptest::prelude::*;
use sensor::config::{
    self, Config, HeaderTest, LedgerFormat, Loaded, MaskAction, MediaTypes, Network, Origin, Pattern,
};
use sensor::units::ByteSize;

fn parse(text: &str) -> Result<Loaded, config::ConfigError> {
    Loaded::parse(text, Path::new("sensor.toml"))
}

fn read(text: &str) -> Config {
    parse(text).unwrap().config
}

/// The example with all that is commented out set, but for what would exclude something else.
fn whole_example() -> String {
    let set = |line: &str| match line.strip_prefix('#') {
        Some(setting) if !setting.is_empty() && !setting.starts_with(' ') => setting.to_owned(),
        _ => line.to_owned(),
    };
    let text: String = config::example().lines().map(|line| set(line) + "\n").collect();
    let (before, rest) = text.split_once("[upload.file]\n").unwrap();
    let (_, after) = rest.split_once("\n# What is logged").unwrap();
    let text = format!("{before}\n# What is logged{after}");
    text.replace("include = \"conf.d\"\n", "")
}

#[test]
fn nothing_written_is_the_defaults() {
    assert_eq!(read(""), Config::default());
    assert_eq!(Loaded::read_with(None, []).unwrap().config, Config::default());
}

#[test]
fn the_defaults_are_those_of_the_parts() {
    let config = Config::default();
    let tunnels = decap::Config::default();
    assert_eq!(config.decap.max_depth, tunnels.max_depth);
    assert_eq!(config.decap.vxlan_ports, tunnels.vxlan_ports);
    assert_eq!(config.decap.mpls_in_udp_ports, tunnels.mpls_in_udp_ports);
    assert_eq!(config.decap.fragment_timeout, tunnels.fragment_timeout);
    let limits = reassembly::Limits::default();
    assert_eq!(config.reassembly.hole, limits.hole);
    assert_eq!(config.reassembly.max_held_per_direction.as_usize(), limits.max_held_per_direction);
    let http = http_parse::Settings::default();
    assert_eq!(config.http.max_head.as_usize(), http.max_head);
    assert_eq!(config.http.max_resync.0, http.max_resync);
    assert_eq!(config.bodies.limit.as_usize(), http.body_limit);
    assert_eq!(MediaTypes::try_from(config.bodies.types.clone()), Ok(MediaTypes(http.body_types)));
    assert_eq!((config.memory, config.sensor.as_str()), (ByteSize(1 << 30), "sensor"));
    // The promises of the platform's page.
    assert_eq!((config.upload.batch.records, config.upload.batch.bytes.0), (250, 1 << 20));
    assert_eq!(config.upload.batch.age.as_secs(), 5);
    assert_eq!(config.upload.path, "/api-transactions");
    assert_eq!(config.status.listen.to_string(), "127.0.0.1:9600");
    assert!(config.mask.credentials && config.mask.enabled, "on unless it is turned off");
    assert!(!parse("[mask]\nenabled = false").unwrap().config.mask.enabled);
    assert!(parse("[mask]\ndrop_body = ['image/*']").unwrap().config.mask.enabled);
    assert!(config.upload.url.is_none() && config.upload.oauth.is_none() && config.upload.spool.is_none());
}

#[test]
fn the_example_parses_and_shows_the_defaults() {
    let example = config::example();
    assert_eq!(read(&example), Config::default());
    // Every key that has a default is set in it, or in a section that is commented out.
    let printed = Loaded::read_with(None, []).unwrap().print();
    let mut settings = 0;
    for line in printed.lines().filter_map(|line| line.strip_suffix("  # default")) {
        assert!(example.lines().any(|shown| shown == line), "{line}");
        settings += 1;
    }
    assert!(settings > 50, "{settings}");
}

#[test]
fn the_example_with_everything_set_parses() {
    let config = read(&whole_example());
    assert!(config.output.is_some() && config.filter.is_some() && config.workers.is_some());
    assert_eq!(config.ledger, Some(LedgerFormat::Text));
    assert_eq!((config.capture.len(), config.filters.rule.len(), config.mask.pattern.len()), (1, 1, 1));
    assert_eq!(config.capture[0].decap.max_depth, Some(config.decap.max_depth));
    let upload = config.upload;
    assert!(upload.url.is_some() && upload.spool.is_some() && upload.tls.certificate.is_some());
    let oauth = upload.oauth.unwrap();
    assert!(oauth.client_secret_file.is_some() && oauth.client_secret_env.is_none() && oauth.tls.key.is_some());
}

/// What the example says is what the uploader takes: none of it is refused only when delivery starts.
#[test]
fn the_uploader_takes_the_whole_example() {
    use sensor::upload::Delivery;
    use uploader::Destination;
    let upload = read(&whole_example()).upload;
    let delivery = Delivery::from_config(&upload, "sensor").unwrap();
    assert_eq!(delivery.settings.problems(), Vec::<String>::new());
    assert_eq!(delivery.settings.spool.as_ref().unwrap().folder, upload.spool.as_ref().unwrap().folder);
    let Destination::Https(https) = delivery.destination else { panic!("the example names a platform") };
    assert_eq!(https.problems(), Vec::<String>::new());
    assert!(https.url.starts_with(upload.url.as_deref().unwrap()) && https.url.ends_with(&upload.path));
    assert!(https.oauth.is_some() && https.tls.identity.is_some());
}

#[test]
fn the_page_is_the_one_that_is_generated() {
    let page = include_str!("../../../docs/configuration.md");
    assert!(
        page == config::page(),
        "docs/configuration.md is stale: cargo run -- config --page > docs/configuration.md"
    );
    // A section is introduced once, in the words of its key or in its own.
    let introductions = page.split("\n## `[").skip(1).filter_map(|section| section.split_once("\n\n"));
    for (name, text) in introductions {
        let begins = |line: &str| line.split_whitespace().take(4).collect::<Vec<_>>().join(" ");
        let mut lines = text.lines().take_while(|line| !line.is_empty()).map(begins);
        let first = lines.next().unwrap();
        assert!(lines.all(|line| line != first), "[{name} is introduced twice: {first} …");
    }
    // What it shows is right, too.
    let shown = page.split("```toml\n").nth(1).unwrap().split("```").next().unwrap();
    let config = read(shown);
    assert_eq!(config.capture[0].interface.as_deref(), Some("eth1"));
    assert_eq!(config.filters.rule[0].path, [Pattern::Exact("/healthz".into()), Pattern::Glob("/probe/*".into())]);
}

/// As a schema sees a file.
fn as_json(text: &str) -> serde_json::Value {
    serde_json::to_value(toml::from_str::<toml::Table>(text).unwrap()).unwrap()
}

#[test]
fn the_schema_accepts_what_is_right_and_refuses_what_is_not() {
    let schema = config::schema();
    jsonschema::meta::validate(&schema).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    for text in [String::new(), config::example(), whole_example()] {
        assert!(validator.is_valid(&as_json(&text)), "{:?}", validator.validate(&as_json(&text)));
    }
    for text in [
        "sensr = 'x'",
        "memory = 'lots'",
        "workers = 257",
        "quiet = 'yes'",
        "ledger = 'xml'",
        "[decap]\nvxlan_ports = [0]",
        "[reassembly]\nhole = 5",
        "[[capture]]\nif = 'eth0'",
        "[capture]\ninterface = 'eth0'",
        "[upload.oauth]\nclient_id = 'x'",
        "[[filters.rule]]\nname = 'x'\nkind = 'include'\nstatus = [99.5]",
    ] {
        assert!(!validator.is_valid(&as_json(text)), "{text}");
        assert!(parse(text).is_err(), "{text}");
    }
}

#[test]
fn values_are_read_as_they_are_meant() {
    let config = read(
        r#"
        memory = "2GiB"
        workers = 0
        [bodies]
        types = ["Application/JSON", "+xml"]
        [decap]
        aliases = [[1001, 1002], [], [2001]]
        [normalize]
        trusted_proxies = ["10.0.0.0/8", "2001:db8::1"]
        names.vni = { 4711 = "prod-eu-1" }
        names.vlan = { 100 = "dmz" }
        [[capture]]
        interface = "eth1"
        decap.max_depth = 3
        [[capture]]
        listen = "0.0.0.0:4789"
        encapsulation = "vxlan"
        [filters]
        sets = ["static_assets", "health_checks"]
        [[filters.rule]]
        name = "errors"
        kind = "allow"
        host = ["api.example.com", "glob:*.shop.example", "regex:^v[0-9]+[.]"]
        status = [404, "5xx", "200-204"]
        client = ["192.0.2.0/24"]
        header = { X-Debug = true, x-shadow = false, user-agent = "glob:kube-probe/*" }
        sample = { rate = 0.25 }
        [mask]
        detectors = { credit_card = "keep_last=4", jwt = "hash" }
        fields = { Password = "redact" }
        json_paths = { "$.customer.cards[*].number" = "drop_body" }
        [[mask.pattern]]
        name = "customer"
        regex = 'C-[0-9]{8}'
        action = "fpe"
        "#,
    );
    assert_eq!((config.memory.0, config.workers), (2 << 30, Some(0)));
    assert_eq!(config.bodies.types, ["application/json", "+xml"]);
    assert_eq!(config.decap.alias_pairs(), [(1001, 1001), (1002, 1001), (2001, 2001)]);
    let host = "2001:db8::1/128".parse::<Network>().unwrap();
    assert_eq!(config.normalize.trusted_proxies[1], host);
    assert_eq!(
        (config.normalize.names.vni[&4711].as_str(), config.normalize.names.vlan[&100].as_str()),
        ("prod-eu-1", "dmz")
    );
    assert_eq!((config.capture[0].decap.max_depth, config.capture[1].listen.unwrap().port()), (Some(3), 4_789));
    let rule = &config.filters.rule[0];
    assert_eq!(rule.host.len(), 3);
    assert_eq!((rule.status[1].first, rule.status[1].last, rule.status[2].last), (500, 599, 204));
    assert_eq!(rule.header["x-debug"], HeaderTest::Present);
    assert_eq!(rule.header["x-shadow"], HeaderTest::Absent);
    assert_eq!(rule.header["user-agent"], HeaderTest::Like(Pattern::Glob("kube-probe/*".into())));
    assert_eq!(rule.sample.as_ref().unwrap().rate, Some(0.25));
    assert_eq!(config.mask.detectors.values().collect::<Vec<_>>(), [&MaskAction::KeepLast(4), &MaskAction::Hash]);
    assert_eq!(config.mask.fields["password"], MaskAction::Redact);
    assert_eq!(config.mask.pattern[0].action, MaskAction::Fpe);
}

fn variables(list: &[(&str, &str)]) -> Vec<(OsString, OsString)> {
    list.iter().map(|(name, value)| (OsString::from(name), OsString::from(value))).collect()
}

#[test]
fn the_environment_overrides_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("sensor.toml");
    fs::write(
        &file,
        "memory = '1GiB'\nquiet = true\n[upload]\nurl = 'https://one.example'\n[upload.batch]\nrecords = 1\n",
    )
    .unwrap();
    let environment = variables(&[
        ("SENSOR_MEMORY", "3GiB"),
        ("SENSOR_QUIET", "false"),
        ("SENSOR_WORKERS", ""),
        ("SENSOR_UPLOAD__URL", "https://two.example"),
        ("SENSOR_UPLOAD__BATCH__RECORDS", "9"),
        ("SENSOR_UPLOAD__SPOOL__FOLDER", "/spool"),
        ("SENSOR_NORMALIZE__TRUSTED_PROXIES", "10.0.0.0/8, 192.0.2.7"),
        ("SENSOR_NORMALIZE__NAMES__VNI__4711", "prod"),
        ("SENSOR_DECAP__ALIASES", "[[1, 2], [3]]"),
        ("SENSOR_DECAP__VXLAN_PORTS", "1,2"),
        ("SENSOR_LOG", "debug"),
        // What an orchestrator sets for a service called `sensor`.
        ("SENSOR_SERVICE_HOST", "10.0.0.1"),
        ("SENSOR_PORT_9600_TCP", "tcp://10.0.0.1:9600"),
        ("PATH", "/bin"),
    ]);
    let loaded = Loaded::read_with(Some(&file), environment).unwrap();
    let config = &loaded.config;
    assert_eq!((config.memory.0, config.quiet, config.workers), (3 << 30, false, None));
    assert_eq!(config.upload.url.as_deref(), Some("https://two.example"));
    assert_eq!((config.upload.batch.records, config.normalize.trusted_proxies.len()), (9, 2));
    assert_eq!(config.upload.spool.as_ref().unwrap().folder, Path::new("/spool"));
    assert_eq!((config.decap.aliases.len(), &config.decap.vxlan_ports[..]), (2, &[1, 2][..]));
    assert_eq!(config.normalize.names.vni[&4711], "prod");
    assert_eq!(loaded.notes, Vec::<String>::new());

    let printed = loaded.print();
    for line in [
        "memory = \"3GiB\"  # SENSOR_MEMORY".to_owned(),
        "records = 9  # SENSOR_UPLOAD__BATCH__RECORDS".to_owned(),
        "in_flight = 4  # default".to_owned(),
    ] {
        assert!(printed.lines().any(|printed| printed == line), "{line}\n{printed}");
    }
    // What is printed is a file that says the same.
    assert_eq!(read(&printed), *config);
}

#[test]
fn faults_of_the_environment_name_the_variable() {
    for (name, value, parts) in [
        ("SENSOR_UPLOAD__URLL", "x", &["SENSOR_UPLOAD__URLL", "did you mean `url`"][..]),
        ("SENSOR_MEMORY", "lots", &["SENSOR_MEMORY", "\"lots\"", "32KiB"]),
        ("SENSOR_QUIET", "perhaps", &["SENSOR_QUIET", "perhaps", "true or false"]),
        ("SENSOR_DECAP__VXLAN_PORTS", "4789,none", &["SENSOR_DECAP__VXLAN_PORTS", "none", "1 to 65535"]),
        ("SENSOR_CAPTURE__INTERFACE", "eth0", &["SENSOR_CAPTURE__INTERFACE", "list of sections"]),
        ("SENSOR_INCLUDE", "conf.d", &["SENSOR_INCLUDE", "file"]),
        ("SENSOR_UPLOAD__OAUTH__CLIENT_SECRET", "hunter2", &["CLIENT_SECRET", "client_secret_file"]),
        ("SENSOR_MEMORY__X", "1", &["SENSOR_MEMORY__X", "table"]),
        ("SENSOR__MEMORY", "1GiB", &["SENSOR__MEMORY", "did you mean SENSOR_MEMORY?"]),
        ("SENSOR__UPLOAD__URL", "x", &["SENSOR__UPLOAD__URL", "did you mean SENSOR_UPLOAD__URL?"]),
    ] {
        let error = Loaded::read_with(None, variables(&[(name, value)])).unwrap_err().to_string();
        for part in parts {
            assert!(error.contains(part), "{error}\ndoes not contain {part}");
        }
        assert!(!error.contains("hunter2"), "{error}");
    }
    let near_miss = Loaded::read_with(None, variables(&[("SENSOR_MEMROY", "1GiB")])).unwrap();
    assert!(near_miss.notes[0].contains("SENSOR_MEMORY?"), "{:?}", near_miss.notes);
    // One underscore where there should be two: the commonest of all, and it was passed over.
    for (written, meant) in [
        ("SENSOR_UPLOAD_URL", "SENSOR_UPLOAD__URL?"),
        ("SENSOR_MASK_KEY_FILE", "SENSOR_MASK__KEY_FILE?"),
        ("SENSOR_UPLOAD_OAUTH_CLIENT_ID", "SENSOR_UPLOAD__OAUTH__CLIENT_ID?"),
    ] {
        let notes = Loaded::read_with(None, variables(&[(written, "x")])).unwrap().notes;
        assert!(notes.len() == 1 && notes[0].ends_with(meant), "{notes:?}");
    }
}

#[test]
fn a_folder_of_snippets_is_joined() {
    let folder = tempfile::tempdir().unwrap();
    let (file, snippets) = (folder.path().join("sensor.toml"), folder.path().join("conf.d"));
    fs::create_dir(&snippets).unwrap();
    fs::write(&file, "include = 'conf.d'\n[upload]\nurl = 'https://a.example'\n[[capture]]\ninterface = 'a'\n")
        .unwrap();
    fs::write(snippets.join("20.toml"), "[upload.batch]\nrecords = 7\n[[capture]]\ninterface = 'c'\n").unwrap();
    fs::write(snippets.join("10.toml"), "[[capture]]\ninterface = 'b'\n[upload]\npool_id = 'p'\n").unwrap();
    fs::write(snippets.join(".hidden.toml"), "nonsense").unwrap();
    fs::write(snippets.join("20.toml.bak"), "nonsense").unwrap();
    let loaded = Loaded::read_with(Some(&file), []).unwrap();
    let interfaces: Vec<_> = loaded.config.capture.iter().map(|capture| capture.interface.clone().unwrap()).collect();
    assert_eq!(interfaces, ["a", "b", "c"]);
    assert_eq!((loaded.config.upload.batch.records, loaded.config.upload.pool_id.as_deref()), (7, Some("p")));
    assert!(loaded.print().contains(&format!("records = 7  # {}:2", snippets.join("20.toml").display())));

    // Two places for one value, whatever it is.
    fs::write(snippets.join("30.toml"), "\n[upload]\nurl = 'https://a.example'\npath = 7\n").unwrap();
    fs::write(snippets.join("40.toml"), "include = 'more'\n[http\n").unwrap();
    let error = Loaded::read_with(Some(&file), []).unwrap_err();
    let text = error.to_string();
    for part in
        ["30.toml, line 3", "sensor.toml, line 3", "one place", "30.toml, line 4", "40.toml, line 1", "40.toml, line 2"]
    {
        assert!(text.contains(part), "{text}\ndoes not contain {part}");
    }
    assert_eq!(error.problems().len(), 4, "{text}");
    assert!(matches!(error.problems()[0].place.origin(), Origin::File(path) if path.ends_with("30.toml")));

    fs::remove_dir_all(&snippets).unwrap();
    let error = Loaded::read_with(Some(&file), []).unwrap_err().to_string();
    assert!(error.contains("line 1") && error.contains("conf.d"), "{error}");
    fs::create_dir(&snippets).unwrap();
    assert!(Loaded::read_with(Some(&file), []).is_ok(), "an empty folder is no fault");
}

#[test]
fn files_that_cannot_be_read_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let latin = folder.path().join("latin.toml");
    fs::write(&latin, b"quiet = true\nsensor = \"\xe9\"\n").unwrap();
    let long = folder.path().join("long.toml");
    fs::write(&long, "#".repeat((4 << 20) + 1)).unwrap();
    for (path, part) in [
        (Path::new("/nowhere/sensor.toml"), "--example"),
        (folder.path(), "regular file"),
        (Path::new("/dev/zero"), "regular file"),
        (&latin, "line 2 is not UTF-8"),
        (&long, "4 MiB"),
    ] {
        let error = Loaded::read_with(Some(path), []).unwrap_err();
        let text = error.to_string();
        assert!(text.contains(part) && text.contains(&*path.to_string_lossy()), "{text}");
        assert_eq!(error.problems().len(), 1, "{text}");
    }
}

#[test]
fn changes_say_what_a_running_sensor_can_take() {
    let old = parse("memory = '1GiB'\n[upload]\nurl = 'https://a.example'\n[[capture]]\ninterface = 'a'").unwrap();
    let new = parse(
        "memory = '2GiB'\n[upload]\nurl = 'https://b.example'\nspool.folder = '/spool'\n[[capture]]\ninterface = 'a'\n[[capture]]\ninterface = 'b'",
    )
    .unwrap();
    assert_eq!(old.changes(&old), []);
    let changes = old.changes(&new);
    let live = |key: &str| changes.iter().find(|change| change.key == key).map(|change| change.is_live);
    assert_eq!(live("memory"), Some(false));
    assert_eq!(live("upload.url"), Some(true));
    assert_eq!(live("upload.spool.folder"), Some(false));
    assert_eq!(live("upload.spool.max_bytes"), Some(false));
    assert_eq!(live("capture[1].interface"), Some(false));
    assert_eq!(live("capture[0].interface"), None);
    assert!(changes.iter().all(|change| change.is_live || !change.key.starts_with("upload.batch")));
}

#[test]
fn what_is_allowed_and_odd_is_said() {
    let loaded = parse("[mask]\nenabled = false").unwrap();
    assert_eq!(loaded.notes.len(), 1, "{:?}", loaded.notes);
    assert!(loaded.notes[0].contains("line 2") && loaded.notes[0].contains("nothing is masked"));
    let loaded = parse("[mask]\ndetectors = { iban = 'fpe' }").unwrap();
    assert!(loaded.notes[0].contains("key_file"), "{:?}", loaded.notes);
    assert!(parse("[upload]\nurl = 'http://127.0.0.1:8080'").unwrap().notes.is_empty());
    let native = "[upload]\nurl = 'http://127.0.0.1:8080'\nshape = 'native'\n";
    let loaded = parse(native).unwrap();
    assert!(loaded.notes[0].contains("line 3") && loaded.notes[0].contains("set `path`"), "{:?}", loaded.notes);
    assert!(parse(&format!("{native}path = '/native'")).unwrap().notes.is_empty());
}

#[test]
fn a_hostile_file_costs_little() {
    let text = (0..200_000).fold(String::new(), |text, n| text + &format!("key{n}=1\n"));
    let error = parse(&text).unwrap_err();
    assert_eq!(error.problems().len(), 200);
    assert!(error.to_string().contains("and 199800 more"), "{}", error.to_string().len());
    let list = format!("[decap]\nvxlan_ports = [{}]", "4789,".repeat(100_000));
    assert!(parse(&list).unwrap_err().to_string().contains("twice"));
    for nest in ["[", "{a=", "a."] {
        let _ = parse(&format!("a = {}", nest.repeat(100_000)));
        let _ = parse(&nest.repeat(100_000));
    }
}

/// What is printed, without where it came from.
fn printed(loaded: &Loaded) -> String {
    let values = loaded.print();
    let values = values.lines().filter(|line| !line.starts_with('#'));
    values.map(|line| line.rsplit_once("  # ").map_or(line, |(value, _)| value).to_owned() + "\n").collect()
}

/// It is taken again, says the same, and is printed as before.
fn prints_for_good(loaded: &Loaded) {
    let again = parse(&loaded.print()).unwrap_or_else(|error| panic!("{error} in\n{}", loaded.print()));
    assert_eq!(Config { include: None, ..loaded.config.clone() }, again.config);
    assert_eq!(printed(loaded), printed(&again));
}

/// Each was refused once it was printed: keys that may not stand there, and what was included beside what includes it.
#[test]
fn what_is_printed_is_a_configuration() {
    prints_for_good(&Loaded::read_with(None, []).unwrap());
    prints_for_good(&parse(&config::example()).unwrap());
    for source in [
        "interface = 'eth1'",
        "interface = 'eth*'\nspare = 3",
        "listen = '127.0.0.1:4789'\nencapsulation = 'vxlan'\nthreads = 2",
    ] {
        prints_for_good(&parse(&format!("[[capture]]\n{source}\n")).unwrap());
    }
    let folder = tempfile::tempdir().unwrap();
    let (file, snippets) = (folder.path().join("sensor.toml"), folder.path().join("conf.d"));
    fs::create_dir(&snippets).unwrap();
    fs::write(&file, "include = 'conf.d'\nquiet = true\n").unwrap();
    let rule = "memory = '2GiB'\n[[filters.rule]]\nname = 'a'\nkind = 'allow'\nheader = { x-a = true }\n";
    fs::write(snippets.join("a.toml"), rule).unwrap();
    let loaded = Loaded::read_with(Some(&file), []).unwrap();
    prints_for_good(&loaded);
    let text = loaded.print();
    assert!(text.starts_with(&format!("# included: {}\n", snippets.join("a.toml").display())), "{text}");
    assert!(text.contains("\n# include = \"conf.d\"  #"), "{text}");
    fs::write(&file, &text).unwrap();
    assert_eq!(printed(&Loaded::read_with(Some(&file), []).unwrap()), printed(&loaded), "beside the folder, too");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn what_is_printed_is_the_same_again(keeps in prop::collection::vec(any::<bool>(), 400), listens in any::<bool>()) {
        let mut keeps = keeps.into_iter();
        let is_kept = |line: &&str| !line.contains(" = ") || line.starts_with("name = ") || line.starts_with('[') || keeps.next() != Some(false);
        let example = whole_example();
        let mut text: String = example.lines().filter(is_kept).map(|line| line.to_owned() + "\n").collect();
        if listens {
            text += "[[capture]]\nname = 'one_more'\nlisten = '127.0.0.1:4789'\nencapsulation = 'geneve'\n";
        }
        if let Ok(loaded) = parse(&text) {
            prints_for_good(&loaded);
        }
    }

    #[test]
    fn no_text_makes_it_panic(text in "[a-z\\[\\]={}\"'0-9\n .,#]{0,200}") {
        let _ = parse(&text);
    }

    #[test]
    fn no_change_of_a_right_file_makes_it_panic(at in any::<prop::sample::Index>(), with in "\\PC{0,8}|[\\[\\]={}\"'\n0-9.,-]{1,4}", cut in 0_usize..40) {
        let example = whole_example();
        let starts: Vec<usize> = example.char_indices().map(|(at, _)| at).collect();
        let from = at.index(starts.len());
        let to = starts.get(from + cut).copied().unwrap_or(example.len());
        let text = format!("{}{with}{}", &example[..starts[from]], &example[to..]);
        match parse(&text) {
            // What is accepted can be printed and read again as the same.
            Ok(loaded) => prop_assert_eq!(&read(&loaded.print()), &loaded.config),
            Err(error) => prop_assert!(!error.problems().is_empty() && !error.to_string().is_empty()),
        }
    }

    #[test]
    fn no_value_anywhere_makes_it_panic(key in any::<prop::sample::Index>(), value in prop::sample::select(vec![
        "-1", "0", "1", "99999999999999999999", "1e400", "nan", "true", "\"\"", "\"x\"", "[]", "[[]]", "{}", "[{}]",
        "1979-05-27T07:32:00Z", "\"\\u0000\"", "\"glob:[\"", "\"regex:(\"", "\"-\"", "\"/\"", "\"0-0\"",
    ])) {
        let example = whole_example();
        let settings: Vec<&str> = example.lines().filter(|line| line.contains(" = ") && !line.starts_with('#')).collect();
        let line = settings[key.index(settings.len())];
        let (name, _) = line.split_once(" = ").unwrap();
        let text = example.replacen(&format!("\n{line}\n"), &format!("\n{name} = {value}\n"), 1);
        if let Ok(loaded) = parse(&text) {
            prop_assert_eq!(&read(&loaded.print()), &loaded.config);
        }
    }
}
