//! A secret in a configuration, wherever and however somebody wrote it: nothing that is said or printed shows it.

use std::ffi::OsString;
use std::fs;
use std::path::Path;

use assert_cmd::Command;
use sensor::config::{self, Loaded};
use sensor::fitness::doubts;
use serde_json::Value;

const JWT: &str = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.abcDEF123_-xWq8";
const KEY: &str = "q83vEjRWeJCrze8SNFZ4kKvN7xI0VniQq83vEjRWeJA";
const HEX: &str = "0f1e2d3c4b5a69788796a5b4c3d2e1f00f1e2d3c4b5a6978";
const TOKEN: &str = "ghp_abcdefghijklmnopqrstuvwxyz0123456789";
const WORD: &str = "hunterzwei";

/// What may stand somewhere, and what of it nobody is to see.
fn plants() -> [(String, &'static str); 3] {
    [(format!("password={WORD}"), WORD), (JWT.to_owned(), JWT), (format!("{KEY}="), KEY)]
}

/// The same in other forms.
fn more_plants() -> Vec<(String, &'static str)> {
    let mut plants = vec![(format!("https://me:{WORD}@a.example"), WORD), (format!("base64:{KEY}="), KEY)];
    plants.extend([HEX, TOKEN].map(|secret| (secret.to_owned(), secret)));
    plants.extend(["./", "glob:", "regex:", "/"].map(|form| (format!("{form}{JWT}"), JWT)));
    plants.extend(["./", "glob:", "regex:"].map(|form| (format!("{form}{KEY}"), KEY)));
    plants
}

/// Each key of the schema by the sections around it; of a list of sections the name ends with `[]`.
fn leaves(schema: &Value, path: &mut Vec<String>, found: &mut Vec<Vec<String>>) {
    for (name, property) in schema["properties"].as_object().unwrap() {
        let is_list = property["type"] == "array" && property["items"]["properties"].is_object();
        path.push(if is_list { format!("{name}[]") } else { name.clone() });
        if is_list {
            leaves(&property["items"], path, found);
        } else if property["properties"].is_object() {
            leaves(property, path, found);
        } else {
            found.push(path.clone());
        }
        path.pop();
    }
}

fn paths() -> Vec<Vec<String>> {
    let mut paths = Vec::new();
    leaves(&config::schema(), &mut Vec::new(), &mut paths);
    paths
}

/// What else has to stand in a section for it to be one.
fn beside(section: &str, key: &str) -> String {
    let lines = match section {
        "[[capture]]" if key != "interface" => "interface = 'eth1'\n",
        "[upload]" if key != "url" => "url = 'https://a.example'\n",
        "[upload.tls]" | "[upload.oauth.tls]" => "certificate = '/c'\nkey = '/k'\n",
        "[upload.oauth]" => "token_url = 'https://a.example/t'\nclient_id = 'c'\nclient_secret_file = '/s'\n",
        "[upload.spool]" => "folder = '/s'\n",
        "[upload.file]" => "path = '/s'\n",
        "[[mask.pattern]]" => "name = 'p'\nregex = 'x'\naction = 'redact'\n",
        "[[filters.rule]]" => "name = 'r'\nkind = 'include'\n",
        _ => "",
    };
    let is_other = |line: &&str| {
        let name = line.split(' ').next().unwrap_or_default();
        name != key && !(name == "client_secret_file" && key.starts_with("client_secret_"))
    };
    lines.lines().filter(is_other).map(|line| format!("{line}\n")).collect()
}

/// A document with a value at one key.
fn document(path: &[String], value: &str) -> String {
    let (key, sections) = path.split_last().unwrap();
    let heading = |depth: usize| {
        let name = sections[..depth].join(".");
        match name.strip_suffix("[]") {
            Some(name) => format!("[[{}]]", name.replace("[]", "")),
            None => format!("[{}]", name.replace("[]", "")),
        }
    };
    let mut text = String::new();
    for depth in 1..=sections.len() {
        let is_last = depth == sections.len();
        let own = beside(&heading(depth), if is_last { key } else { &sections[depth] });
        text.push_str(&format!("{}\n{own}", heading(depth)));
    }
    // What is sent to files is not sent to a platform.
    if sections.get(1).is_some_and(|name| name == "file") {
        text = text.replace("url = 'https://a.example'\n", "");
    }
    format!("{text}{key} = {value}\n")
}

/// All that is said of a configuration, or printed of it; and whether it is taken.
fn said_of(loaded: Result<Loaded, config::ConfigError>) -> (bool, String) {
    match loaded {
        Ok(loaded) => (true, format!("{}\n{:?}\n{:?}", loaded.print(), loaded.notes, doubts(&loaded.config))),
        Err(error) => (false, format!("{error}\n{error:?}")),
    }
}

fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}

#[test]
fn no_leaf_shows_a_secret_whatever_its_type() {
    let paths = paths();
    assert!(paths.len() > 100, "{}", paths.len());
    let (mut taken, mut refused) = (0, 0);
    for path in &paths {
        let mut try_value = |value: &str, secret: &str| {
            let document = document(path, value);
            let (is_taken, said) = said_of(Loaded::parse(&document, Path::new("sensor.toml")));
            assert!(!said.contains(secret), "{said}\nof:\n{document}");
            *(if is_taken { &mut taken } else { &mut refused }) += 1;
        };
        for (plant, secret) in plants() {
            let text = quoted(&plant);
            for value in [
                text.clone(),
                format!("[{text}]"),
                format!("{{ {text} = \"redact\" }}"),
                format!("{{ 1 = {text} }}"),
                format!("{{ authorization = {text} }}"),
                format!("{{ {text} = {text} }}"),
                format!("[{{ x = {text} }}]"),
                // Without quotes, or without their end.
                plant.clone(),
                format!("\"{plant}"),
            ] {
                try_value(&value, secret);
            }
        }
        for (plant, secret) in more_plants() {
            try_value(&quoted(&plant), secret);
        }
    }
    // What is compared with may be a secret, and so is taken and not shown.
    assert!(taken > 50 && refused > 1_000, "{taken} {refused}");
}

#[test]
fn no_variable_shows_a_secret() {
    for path in paths() {
        let name = format!("SENSOR_{}", path.join("__").replace("[]", "").to_uppercase());
        for (plant, secret) in plants() {
            for value in
                [plant.clone(), format!("[\"{plant}\"]"), format!("{{ x = \"{plant}\" }}"), format!("1,{plant}")]
            {
                let variable = [(OsString::from(&name), OsString::from(&value))];
                let (_, said) = said_of(Loaded::read_with(None, variable));
                assert!(!said.contains(secret), "{said}\nof: {name}={value}");
            }
        }
    }
}

#[test]
fn neither_keys_nor_headings_show_a_secret() {
    for (plant, secret) in plants().into_iter().chain(more_plants()) {
        let text = quoted(&plant);
        for document in [
            format!("{text} = 1\n"),
            format!("{text} = 1\n{text} = 2\n"),
            format!("[{text}]\na = 1\n"),
            format!("[upload.{text}]\n[upload.{text}]\n"),
            format!("[[capture]]\n{text} = 1\n"),
            format!("[mask.fields]\n{text} = \"redact\"\n{text} = \"hash\"\n"),
            format!("[mask {plant}]\n"),
            format!("[upload.oauth]\nclient_secret: {plant}\n"),
            format!("[mask]\nkey_file = \"/a\" {plant}\n"),
            format!("[mask]\nkey_file = \"\"\"\n{plant}\"\"\"\n"),
        ] {
            let (_, said) = said_of(Loaded::parse(&document, Path::new("sensor.toml")));
            assert!(!said.contains(secret), "{said}\nof:\n{document}");
        }
        // Two files that set one thing, and a folder by such a name.
        let folder = tempfile::tempdir().unwrap();
        let (file, snippets) = (folder.path().join("sensor.toml"), folder.path().join("conf.d"));
        fs::create_dir(&snippets).unwrap();
        for name in ["a.toml", "b.toml"] {
            fs::write(snippets.join(name), format!("[upload.{text}]\n{text} = 1\n[mask.fields]\n{text} = 1\n"))
                .unwrap();
        }
        for include in ["conf.d", &plant] {
            fs::write(&file, format!("include = {}\n", quoted(include))).unwrap();
            let (is_taken, said) = said_of(Loaded::read_with(Some(&file), []));
            assert!(!is_taken && !said.contains(secret), "{said}");
        }
    }
}

/// What a secret is shown by although each value alone is none by its looks.
#[test]
fn what_was_shown_once() {
    let pattern = |regex: &str| format!("[[mask.pattern]]\nname = 'p'\naction = 'redact'\nregex = '{regex}'");
    const OAUTH: &str =
        "[upload]\nurl = 'https://a.example'\n[upload.oauth]\ntoken_url = 'https://b.example/t'\nclient_id = 'c'\n";
    for (text, secret, is_refused) in [
        (format!("filter = 'password={WORD}'"), WORD, true),
        (format!("[[capture]]\ninterface = 'a'\nfilter = 'password={WORD}'"), WORD, true),
        (format!("[mask.json_paths]\n\"$.password[?(@=='{WORD}')]\" = 'redact'"), WORD, true),
        (format!("[mask.fields]\n'password={WORD}' = 'redact'"), WORD, true),
        (format!("[mask]\nnot_credentials = ['password={WORD}']"), WORD, true),
        (format!("[mask.fields]\npassword = '{WORD}'"), WORD, true),
        (format!("[mask]\nfields = {{ api_key = \"{WORD}\" }}"), WORD, true),
        ("[mask]\nfields = { api_key = \"hunter=2\" }".to_owned(), "hunter", true),
        (pattern(&format!("password={WORD}")), WORD, false),
        (pattern(&format!("(foo|{TOKEN})")), TOKEN, false),
        (pattern(&format!("^glpat\\-{KEY}$")), KEY, false),
        (pattern(&JWT.replace('.', "\\.")), &JWT[..20], false),
        (pattern(&format!("{TOKEN}(")), TOKEN, true),
        (pattern(&format!("(password={WORD}")), WORD, true),
        (pattern(&format!("(?<=x){TOKEN}")), TOKEN, true),
        (format!("{OAUTH}client_secret_env = '{KEY}'"), KEY, true),
        (format!("{OAUTH}client_secret_env = 'S3cr3tHunter22Zq'"), "S3cr3tHunter22Zq", true),
        (format!("{OAUTH}client_secret_credential = '{HEX}'"), HEX, true),
        (format!("{OAUTH}client_secret_credential = '72f988bf-86f1-41af-91ab-2d7cd011db47'"), "72f988bf", true),
        (format!("{OAUTH}client_secret_credential = 4929123412341234"), "4929123412341234", true),
        ("[mask]\nkey_file = 4929123412341234".to_owned(), "4929123412341234", true),
        (format!("[mask]\nkey_file = '/{JWT}'"), JWT, true),
        (format!("[mask]\nkey_file = './{JWT}'"), JWT, true),
        (format!("[mask]\nkey_file = '/{TOKEN}'"), TOKEN, true),
        (format!("[mask]\nkey_file = '/{KEY}'"), KEY, true),
        (format!("[[filters.rule]]\nname = 'r'\nkind = 'ignore'\nhost = ['regex:^me:{WORD}@h$']"), WORD, false),
        (format!("[[filters.rule]]\nname = 'r'\nkind = 'ignore'\npath = ['/reset/token/{KEY}']"), KEY, false),
        (format!("[[filters.rule]]\nname = 'r'\nkind = 'ignore'\npath = ['glob:/reset/{HEX}/*']"), HEX, false),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("sensor.toml");
        fs::write(&file, &text).unwrap();
        let name = file.to_str().unwrap();
        for arguments in
            [&["config", "--check", name][..], &["config", "--print", "--config", name], &["check", "--config", name]]
        {
            let run = Command::cargo_bin("sensor").unwrap().env_clear().args(arguments).output().unwrap();
            let said = String::from_utf8_lossy(&[run.stdout, run.stderr].concat()).into_owned();
            assert!(!said.contains(secret), "{arguments:?}: {said}\nof:\n{text}");
            // What is wrong with an expression over frames is for those to say that use it.
            if is_refused && arguments[1] == "--check" {
                assert_eq!(run.status.code(), Some(2), "{said}\nof:\n{text}");
                assert!(said.contains("not shown"), "{said}\nof:\n{text}");
            }
        }
    }
}

/// What is no secret by its looks, and was taken for one; and what is there, whatever it looks like.
#[test]
fn names_are_no_secrets() {
    const OAUTH: &str = "[upload]\nurl = 'https://a.example'\n[upload.oauth]\ntoken_url = 'https://login.example/72f988bf-86f1-41af-91ab-2d7cd011db47/oauth2/v2.0/token'\nclient_id = '72f988bf-86f1-41af-91ab-2d7cd011db47'\n";
    let folder = tempfile::tempdir().unwrap();
    let there = folder.path().join(JWT);
    fs::write(&there, "").unwrap();
    for text in [
        "[mask]\nkey_file = 'environments/production-eu-west1/sensor-mask-key'".to_owned(),
        "[mask]\nkey_file = './environments/production_eu_west_1/sensor_mask_key2'".to_owned(),
        "[mask]\nkey_file = '/var/lib/sensor/keys/mask20241121key32bytes='".to_owned(),
        "[mask]\nkey_file = '/nix/store/9i3zk3k7vc0h7xq8v1z2y3k4b5c6d7f8-sensor-key'".to_owned(),
        format!("[mask]\nkey_file = '{}'", there.display()),
        format!("{OAUTH}client_secret_file = '/etc/secrets/..2024_11_21_10_00_00.123456789/client'"),
        format!("{OAUTH}client_secret_file = '/run/secrets/sensor_oauth_client_secret_v2024_11_21'"),
        format!("{OAUTH}client_secret_env = 'PLATFORM_CLIENT_SECRET_FOR_PRODUCTION_EU_WEST_1'"),
        format!("{OAUTH}client_secret_env = 'SensorClientSecret'"),
        format!("{OAUTH}client_secret_credential = 'oauth2-client-secret-of-production-eu-west-1'"),
        format!("{OAUTH}client_secret_file = '/x'\nscope = 'api://72f988bf-86f1-41af-91ab-2d7cd011db47/.default'"),
        format!("{OAUTH}client_secret_file = '/x'\nscope = 'openid transactions:write'"),
        "[upload]\nurl = 'https://a.example'\nproxy = 'http://proxy.example:3128'\ninstance_id = 'sensor-production-eu-west-1-rack-22'".to_owned(),
        "[[filters.rule]]\nname = 'partners-of-production-eu-west-1'\nkind = 'ignore'\nhost = ['regex:^[^@]+$']\npath = ['/login', 'glob:/token/*', '/reset-password']".to_owned(),
        "[mask.fields]\npassword = 'redact'\n'*_token' = 'hash'\n[mask.json_paths]\n'$.password' = 'redact'\n\"$['a token'][0]\" = 'hash'\n'$..token' = 'hash'".to_owned(),
        "[[mask.pattern]]\nname = 'p'\naction = 'redact'\nregex = 'password=[a-z]{8}|token: \\S+'".to_owned(),
        "filter = 'udp port 4789 or (tcp and host 10.0.0.1)'\noutput = '/var/log/sensor/records.ndjson'".to_owned(),
    ] {
        let loaded = Loaded::parse(&text, Path::new("sensor.toml")).unwrap_or_else(|error| panic!("{error}\nof:\n{text}"));
        let printed = loaded.print();
        assert!(!printed.contains("not shown"), "{printed}\nof:\n{text}");
    }
}
