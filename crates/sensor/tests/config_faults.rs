//! Broken configurations: each fault is told by file and line, with what was found and what to do; all of them at once;
//! and nothing is begun.

use std::fs;
use std::path::Path;

use assert_cmd::Command;
use sensor::config::{ConfigError, Loaded};

fn fault(text: &str) -> ConfigError {
    match Loaded::parse(text, Path::new("/etc/sensor/sensor.toml")) {
        Err(error) => error,
        Ok(_) => panic!("this was accepted:\n{text}"),
    }
}

/// A text, the line of its one fault, part of what is said to be there, part of the advice.
type Case = (&'static str, u32, &'static str, &'static str);

const TOP: &[Case] = &[
    ("\nsensr = \"x\"", 2, "unknown key `sensr`", "did you mean `sensor`?"),
    ("sensor = \"\"", 1, "found \"\"", "edge-1"),
    ("sensor = ", 1, "not TOML", "a value behind the ="),
    ("sensor = edge", 1, "not TOML", "texts in quotes"),
    ("quiet = true\nquiet = true", 2, "the key `quiet` is set twice", "keep one"),
    ("\n\nmemory = \"lots\"", 3, "found \"lots\"", "a whole number and a unit"),
    ("memory = -1", 1, "found -1", "a size"),
    ("memory = 1.5", 1, "found 1.5", "a size"),
    ("workers = -1", 1, "found -1", "0 to 256"),
    ("workers = \"four\"", 1, "found \"four\"", "a whole number, 0 to 256"),
    ("workers = 99999999999999999999", 1, "found 99999999999999999999", "0 to 256"),
    ("ledger = \"xml\"", 1, "found \"xml\"", "\"text\" or \"json\""),
    ("ledger = \"jsn\"", 1, "found \"jsn\"", "did you mean \"json\"?"),
    ("quiet = \"yes\"", 1, "found \"yes\"", "true or false"),
    ("filter = [\"tcp\"]", 1, "found a list", "[filters]"),
    ("[[filter.rule]]\nname = 'x'", 1, "found a table", "[[filters.rule]]"),
    ("include = \"conf.d\"", 1, "found \"conf.d\"", "named to the program"),
    ("records = 5", 1, "unknown key `records`", "it belongs to [upload.batch]"),
    ("[banana]\nx = 1", 1, "unknown key `banana`", "known here are include, sensor"),
    ("[upload\nurl = 'x'", 1, "not TOML", "[section]"),
    ("output = \"\"", 1, "found \"\"", "a path"),
    ("sensor = 2026-11-21", 1, "found 2026-11-21", "a name"),
];

const PARTS: &[Case] = &[
    ("bodies = 5", 1, "found 5", "write [bodies]"),
    ("[bodies]\ntypes = [\n  \"text/*\",\n  \"json\",\n]", 4, "found \"json\"", "application/json"),
    ("[bodies]\nlimit = '32 KByte'", 2, "found \"32 KByte\"", "32KiB"),
    ("[decap]\nvxlan_ports = [4789, 70000]", 2, "found 70000", "1 to 65535"),
    ("[decap]\nvxlan_ports = [4789, 0]", 2, "found 0", "1 to 65535"),
    ("[decap]\nvxlan_ports = 4789", 2, "found 4789", "a list"),
    ("[decap]\nmax_depth = 17", 2, "found 17", "0 to 16"),
    ("[decap]\nmax_dept = 3", 2, "unknown key `max_dept`", "`max_depth`"),
    ("[decap]\nvxlan_ports = [1]\ngeneve_ports = [1]", 3, "port 1 stands in geneve_ports", "vxlan_ports"),
    ("[decap]\nvxlan_ports = [6081]", 2, "port 6081", "by default"),
    ("[decap]\nlisp_ports = [7, 7]", 2, "port 7 stands in lisp_ports twice", "once"),
    ("[decap]\naliases = [[1, 2], [2]]", 2, "id 2 stands in the aliases twice", "one group"),
    ("[reassembly]\nhole = 5", 2, "found 5", "ms, s, min or h"),
    ("[reassembly]\nhole = \"5 years\"", 2, "found \"5 years\"", "ms, s, min or h"),
    ("[http]\nmax_headers = 0", 2, "found 0", "1 to 1048576"),
    ("[http]\nmax_head = 0", 2, "found 0", "256B to 1MiB"),
    ("[http]\nmax_head = '2GiB'", 2, "found \"2GiB\"", "256B to 1MiB"),
    ("[log]\nlevel = 'verbose'", 2, "found \"verbose\"", "\"error\", \"warn\", \"info\", \"debug\" or \"trace\""),
    ("[log]\nformat = 'jsn'", 2, "found \"jsn\"", "did you mean \"json\"?"),
    ("[status]\nlisten = 9600", 2, "found 9600", "127.0.0.1:9600"),
    ("[status]\nlisten = 'localhost:9600'", 2, "found \"localhost:9600\"", "an IP address and a port"),
    ("[privileges]\ngroup = 'sensor'", 2, "found \"sensor\"", "privileges.user"),
];

const LIVE: &[Case] = &[
    ("[capture]\ninterface = 'eth0'", 1, "found a table", "[[capture]]"),
    ("capture = 'eth0'", 1, "found \"eth0\"", "[[capture]]"),
    ("\n[[capture]]\nname = 'a'", 2, "nothing is set", "`interface`"),
    ("[[capture]]\ninterface = 'a'\nlisten = '0.0.0.0:4789'", 3, "found \"0.0.0.0:4789\"", "a [[capture]] for each"),
    ("[[capture]]\nlisten = '0.0.0.0:4789'", 1, "nothing is set", "\"vxlan\""),
    ("[[capture]]\nlisten = '0.0.0.0:0'\nencapsulation = 'vxlan'", 2, "0.0.0.0:0", "4789"),
    ("[[capture]]\ninterface = 'a'\nencapsulation = 'vxlan'", 3, "found \"vxlan\"", "with `listen`"),
    ("[[capture]]\ninterface = 'a'\ndevice = 'b'", 3, "not shown", "`interface`"),
    ("[[capture]]\ninterface = 'a b'", 2, "found \"a b\"", "the name of an interface"),
    ("[[capture]]\ninterface = 'a'\nsnaplen = 96", 3, "not shown", "captured whole"),
    ("[[capture]]\ninterface = 'a'\nring = '1KiB'", 3, "found \"1KiB\"", "1MiB to 2GiB"),
    ("[[capture]]\ninterface = 'a'\nring = '3GiB'", 3, "found \"3GiB\"", "1MiB to 2GiB"),
    (
        "[[capture]]\nlisten = '0.0.0.0:4789'\nencapsulation = 'vxlan'\nring = '2GiB'",
        4,
        "found \"2GiB\"",
        "a socket's buffer is 1GiB at most",
    ),
    ("[[capture]]\nlisten = '239.1.1.1:4789'\nencapsulation = 'vxlan'\nthreads = 2", 4, "found 2", "take it out"),
    ("[[capture]]\ninterface = 'a'\npromisc = true", 3, "unknown key `promisc`", "`promiscuous`"),
    (
        "[[capture]]\nname = 'x'\ninterface = 'a'\n[[capture]]\nname = 'x'\ninterface = 'b'",
        5,
        "found \"x\"",
        "/etc/sensor/sensor.toml, line 2",
    ),
    ("[[capture]]\ninterface = 'a'\n[capture.decap]\nmax_depth = 99", 4, "found 99", "0 to 16"),
    ("[normalize]\ntrusted_proxies = ['10.1.2.3/8']", 2, "found \"10.1.2.3/8\"", "did you mean \"10.0.0.0/8\"?"),
    ("[normalize]\ntrusted_proxies = ['10.0.0.0/40']", 2, "10.0.0.0/40", "0 to 32"),
    ("[normalize]\ntrusted_proxies = [\n'::1',\n'proxy'\n]", 4, "found \"proxy\"", "10.0.0.0/8"),
    ("[normalize]\nclient_address = ['x-forwarded']", 2, "found \"x-forwarded\"", "\"x-forwarded-for\""),
    ("[normalize]\nclient_address = ['forwarded', 'forwarded']", 2, "\"forwarded\" stands in the list twice", "once"),
    ("[normalize.names.vni]\nprod = 'x'", 2, "found the key `prod`", "a virtual network id"),
    ("[normalize.names]\nvlan = { 4096 = 'x' }", 2, "found the key `4096`", "0 to 4095"),
    (
        "[normalize.names.vni]\n1 = 'a'\n01 = 'b'",
        2,
        "means another one, which is set in /etc/sensor/sensor.toml, line 3",
        "keep one",
    ),
    ("[normalize.names.vni]\n1 = ''", 2, "found \"\"", "empty"),
];

const CHOICE: &[Case] = &[
    ("[filters]\nsets = ['static']", 2, "found \"static\"", "did you mean \"static_assets\"?"),
    ("[[filters.rule]]\nkind = 'allow'", 1, "nothing is set", "name = "),
    ("[[filters.rule]]\nname = 'a'", 1, "nothing is set", "kind = "),
    ("[[filters.rule]]\nname = 'a b'\nkind = 'allow'", 2, "found \"a b\"", "letters, digits"),
    (
        "[[filters.rule]]\nname = 'a'\nkind = 'deny'",
        3,
        "found \"deny\"",
        "\"ignore\", \"allow\", \"exclude\" or \"include\"",
    ),
    ("[[filters.rule]]\nname = 'a'\nkind = 'ignore'", 3, "found \"ignore\"", "no condition"),
    ("[[filters.rule]]\nname = 'a'\nkind = 'ignore'\nhost = []\nheader = {}", 3, "found \"ignore\"", "no condition"),
    ("[[filters.rule]]\nname = 'a'\nkind = 'allow'\npath = ['/x?y=1']", 4, "/x?y=1", "no query"),
    ("[[filters.rule]]\nname = 'a'\nkind = 'allow'\nmethod = ['G*']", 4, "found \"G*\"", "without wildcards"),
    ("[[filters.rule]]\nname = 'a'\nkind = 'allow'\nheader = { x = ' a' }", 4, "found \" a\"", "write \"a\""),
    (
        "[[filters.rule]]\nname = 'a'\nkind = 'allow'\nheader = { authorization = 'regex:hunter2(' }",
        4,
        "not shown",
        "is no regular expression: unclosed group",
    ),
    ("[[filters.rule]]\nname = 'a'\nkind = 'allow'\nheader = { cookie = 'hunter2*' }", 4, "not shown", "\"glob:…\""),
    (
        "[[filters.rule]]\nname = 'a'\nkind = 'allow'\nheader = 'authorization: Bearer hunter2'",
        4,
        "not shown",
        "a table",
    ),
    (
        "[[filters.rule]]\nname = 'a'\nkind = 'allow'\nheader = { x-api-key = 'hunter2 ' }",
        4,
        "not shown",
        "write \"…\"",
    ),
    (
        "[[filters.rule]]\nname = 'a'\nkind = 'allow'\nheader = { 'authorization: Bearer hunter2' = true }",
        4,
        "not shown",
        "the name of a header",
    ),
    ("[[filters.rule]]\nname = 'a'\nkind = 'allow'\nheader = { x-api-key = 48151 }", 4, "a number (5", "true (it is"),
    ("[[filters.rule]]\nname = 'a'\nkind = 'allow'\nhost = ['me:hunter2@a.example']", 4, "not shown", "behind the @"),
    ("[[filters.rule]]\nname = 'a'\nkind = 'allow'\nhost = ['glob:me:hunter2@*']", 4, "not shown", "behind the @"),
    ("[[filters.rule]]\nname = 'a'\nkind = 'allow'\nhost = ['https://me:hunter2@a']", 4, "not shown", "behind the @"),
    ("[[filters.rule]]\nname = 'a'\nkind = 'allow'\npath = ['/login?password=hunter2']", 4, "not shown", "no query"),
    (
        "[[filters.rule]]\nname = 'a'\nkind = 'allow'\npath = ['glob:/password=hunter2/{']",
        4,
        "not shown",
        "`…` does not",
    ),
    ("[[mask.pattern]]\nname = 'Credit_Card'\nregex = 'x'\naction = 'hash'", 2, "Credit_Card", "another one"),
    ("[[mask.pattern]]\nname = 'CREDENTIAL'\nregex = 'x'\naction = 'hash'", 2, "CREDENTIAL", "another one"),
    ("[mask]\nkey_file = 'hunter2hunter2hunter2hunter2hunter2'", 2, "not shown", "it looks like a key"),
    ("[mask]\nkey_file = './hunter2hunter2hunter2hunter2hunter2'", 2, "not shown", "it looks like a key"),
    ("[mask]\nkey_file = 'base64:hunter2hunter2hunter2hunter2hunter2='", 2, "not shown", "it looks like a key"),
    ("[mask]\nkey_file = '/hunter2hunter2hunter2hunter2hunter2='", 2, "not shown", "it looks like a key"),
    ("[mask]\nkey_file = 'hunter2'", 2, "not shown", "\"./key\""),
    ("mask = '{ key_file = \"hunter2\" }'", 1, "not shown", "write [mask]"),
    ("include = 'https://me:hunter2@a.example/'", 1, "not shown", "may include a folder"),
    ("[capture.'password=hunter2']", 1, "found a table", "[[capture]]"),
    ("'password=hunter2' = 1", 1, "not shown", "known here"),
    ("[[filters.rule]]\nname = 'no_include_rule'\nkind = 'allow'", 2, "no_include_rule", "another one"),
    ("[[filters.rule]]\nname = 'a'\nkind = 'allow'\nhost = ['*.x']", 4, "found \"*.x\"", "\"glob:*.x\""),
    ("[[filters.rule]]\nname = 'a'\nkind = 'allow'\nhost = 'x'", 4, "found \"x\"", "a list"),
    ("[[filters.rule]]\nname = 'a'\nkind = 'allow'\npath = ['regex:(']", 4, "regex:(", "no regular expression"),
    ("[[filters.rule]]\nname = 'a'\nkind = 'allow'\npath = ['glob:{a']", 4, "glob:{a", "does not close a brace"),
    ("[[filters.rule]]\nname = 'a'\nkind = 'allow'\nmethod = ['get']", 4, "found \"get\"", "did you mean \"GET\"?"),
    ("[[filters.rule]]\nname = 'a'\nkind = 'allow'\nstatus = [99]", 4, "found 99", "\"5xx\""),
    ("[[filters.rule]]\nname = 'a'\nkind = 'allow'\nstatus = ['300-200']", 4, "300-200", "a range"),
    ("[[filters.rule]]\nname = 'a'\nkind = 'allow'\nport = ['http']", 4, "found \"http\"", "1 to 65535"),
    ("[[filters.rule]]\nname = 'a'\nkind = 'allow'\nvlan = [5000]", 4, "found 5000", "0 to 4095"),
    ("[[filters.rule]]\nname = 'a'\nkind = 'allow'\nheader = { x = 1 }", 4, "found 1", "true (it is there)"),
    ("[[filters.rule]]\nname = 'a'\nkind = 'allow'\nheader = { 'a b' = true }", 4, "`a b`", "the name of a header"),
    ("[[filters.rule]]\nname = 'a'\nkind = 'allow'\nsample = {}", 4, "nothing is set", "`rate`"),
    ("[[filters.rule]]\nname = 'a'\nkind = 'allow'\nsample.rate = 1.5", 4, "found 1.5", "above 0, up to 1"),
    (
        "[[filters.rule]]\nname = 'a'\nkind = 'allow'\nsample = { rate = 0.1, first_per_minute = 3 }",
        4,
        "found 3",
        "take one out",
    ),
    (
        "[[filters.rule]]\nname = 'a'\nkind = 'exclude'\nhost = ['x']\nsample = { rate = 0.1 }",
        5,
        "found a table",
        "\"include\" or \"allow\"",
    ),
    (
        "[[filters.rule]]\nname = 'a'\nkind = 'allow'\n[[filters.rule]]\nname = 'a'\nkind = 'allow'",
        5,
        "found \"a\"",
        "line 2",
    ),
    ("[[filters.rules]]\nname = 'a'", 1, "unknown key `rules`", "`rule`"),
    ("[mask]\nkey = 'abc'", 2, "not shown", "key_file"),
    ("[mask]\nkey_file = '''\n-----BEGIN'''", 2, "not shown", "the path of a file"),
    ("[mask]\ndetectors = { credit_cards = 'redact' }", 2, "`credit_cards`", "did you mean `credit_card`?"),
    ("[mask]\ndetectors = { iban = 'hide' }", 2, "found \"hide\"", "\"redact\""),
    ("[mask]\ndetectors = { iban = 'keep_last=99' }", 2, "keep_last=99", "1 to 16"),
    ("[mask.fields]\n'' = 'redact'", 2, "the key ``", "the name of a field"),
    ("[mask.json_paths]\n'a.b' = 'redact'", 2, "`a.b`", "a JSON path"),
    ("[mask]\ndrop_body = ['pdf']", 2, "found \"pdf\"", "type/subtype"),
    ("[[mask.pattern]]\nname = 'x'\nregex = 'a{9999}{9999}'\naction = 'hash'", 3, "a{9999}{9999}", "1 MiB"),
    ("[[mask.pattern]]\nname = 'x'\nregex = 'a*'\naction = 'hash'", 3, "found \"a*\"", "need a character"),
    ("[[mask.pattern]]\nname = 'x'\nregex = '(?<=a)b'\naction = 'hash'", 3, "(?<=a)b", "look-around"),
];

const DELIVERY: &[Case] = &[
    ("[upload]\nurl = 'edge.example.com'", 2, "found \"edge.example.com\"", "https://edge.example.com"),
    ("[upload]\nurl = 'https://edge.example.com/api'", 2, "/api", "`path`"),
    ("[upload]\nurl = 'http://edge.example.com'", 2, "http://edge", "https://"),
    ("[upload]\nurl = 'ftp://edge.example.com'", 2, "ftp://", "https://"),
    ("[upload]\nurl = 'https://me:hunter2@edge.example.com'", 2, "not shown", "no user or password"),
    ("[upload]\nurl = 'https://edge.example.com/?token=hunter2'", 2, "not shown", "scheme, host and port only"),
    ("[upload]\nurl = 'hunter2'", 2, "not shown", "https://edge.example.com"),
    ("[upload]\npath = '/x?token=hunter2'", 2, "not shown", "begins with /"),
    ("[upload]\nproxy = 'http://proxy:3128/?token=hunter2'", 2, "not shown", "without a path"),
    (
        "[upload]\nurl = 'https://a.example'\n[upload.oauth]\ntoken_url = 'https://b.example/t?client_secret=hunter2'\nclient_id = 'c'\nclient_secret_env = 'B'",
        4,
        "not shown",
        "a URL holds no secret",
    ),
    ("[upload]\nproxy = 'http://me:hunter2@proxy:3128'", 2, "not shown", "HTTPS_PROXY"),
    ("[upload]\nproxy = 'socks5://proxy:1080'", 2, "socks5://proxy:1080", "only one that knows CONNECT"),
    ("[upload]\nproxy = 'ftp://proxy:21'", 2, "ftp://proxy:21", "the URL of a proxy"),
    ("[upload]\npath = 'api'", 2, "found \"api\"", "begins with /"),
    ("[upload]\ntoken = 'hunter2'", 2, "not shown", "[upload.oauth]"),
    ("[upload]\ncompression = 'zip'", 2, "found \"zip\"", "\"none\", \"gzip\" or \"zstd\""),
    ("[upload]\nin_flight = 0", 2, "found 0", "1 to 64"),
    ("[upload]\ntimeout = '2h'", 2, "found \"2h\"", "1s to 1h"),
    ("[upload]\nrecords = 5", 2, "unknown key `records`", "[upload.batch]"),
    ("[upload]\nqueue_bytes = '1MiB'", 2, "1MiB", "2MiB"),
    ("[upload.batch]\nrecords = 0", 2, "found 0", "1 to 100000"),
    ("[upload.batch]\nrecords = 250.5", 2, "found 250.5", "a whole number"),
    ("[upload.batch]\nage = '1ms'", 2, "found \"1ms\"", "10ms to 1h"),
    ("[upload.spool]\nfolder = '/spool'", 1, "nothing is set", "set `url`"),
    ("[upload]\nurl = 'https://a.example'\nspool = {}", 3, "nothing is set", "folder ="),
    (
        "[upload]\nurl = 'https://a.example'\nspool = { folder = '/s', sync = 'fsync' }",
        3,
        "fsync",
        "\"batch\" or \"none\"",
    ),
    ("[upload]\nurl = 'https://a.example'\n[upload.file]\npath = '/x'", 2, "[upload.file], too", "take one out"),
    ("[upload.file]\npath = '/x'\nkeep = 0", 3, "found 0", "1 to 100000"),
    ("[upload.tls]\ncertificate = 'a.pem'", 2, "found \"a.pem\"", "set `key`, too"),
    ("[upload.tls]\nkey = 'hunter2'", 2, "not shown", "with its folder"),
    ("[upload.tls]\nkey = './a.key'", 2, "found \"./a.key\"", "set `certificate`, too"),
    ("[upload.tls]\nmin_version = 1.2", 2, "found 1.2", "\"1.2\" or \"1.3\""),
    ("[upload.tls]\nserver_name = 'https://a'", 2, "found \"https://a\"", "without scheme"),
    ("[upload.tls]\ninsecure = true", 2, "not shown", "always checked"),
    ("[upload.tls]\nca = \"\"\"-----BEGIN CERTIFICATE-----\nx\"\"\"", 2, "not shown", "the path of a file"),
];

/// What stands above each case of `[upload.oauth]`: five lines, to which the case adds the sixth.
const OAUTH: &str =
    "[upload]\nurl = 'https://a.example'\n[upload.oauth]\ntoken_url = 'https://b.example/t'\nclient_id = 'c'\n";

const SECRETS: &[Case] = &[
    ("client_secret = 'hunter2'", 6, "not shown", "put it into a file"),
    ("client_secret = hunter2", 6, "not TOML", "texts in quotes"),
    ("client_secret_env = 'hunter2 and more'", 6, "not shown", "not what it holds"),
    ("client_secret_credential = 'hunter2/x'", 6, "not shown", "not what it holds"),
    (
        "client_secret_file = './a'\nclient_secret_env = 'B'",
        7,
        "both client_secret_file and client_secret_env",
        "one place",
    ),
    ("client_secret_file = 'hunter2'", 6, "not shown", "with its folder"),
    ("client_secret_file = ['hunter2']", 6, "found a list", "the path of a file"),
    (
        "client_secert_file = 'a'\nclient_secret_env = 'B'",
        6,
        "unknown key `client_secert_file`",
        "`client_secret_file`",
    ),
    ("", 3, "nothing is set", "client_secret_file"),
];

fn cases() -> Vec<(String, &'static Case)> {
    let plain = [TOP, PARTS, LIVE, CHOICE, DELIVERY].into_iter().flatten().map(|case| (case.0.to_owned(), case));
    plain.chain(SECRETS.iter().map(|case| (format!("{OAUTH}{}", case.0), case))).collect()
}

#[test]
fn each_fault_is_told_by_file_and_line_with_advice() {
    let cases = cases();
    assert!(cases.len() >= 40);
    for (text, (_, line, found, advice)) in cases {
        let error = fault(&text);
        let said = error.to_string();
        let [problem] = error.problems() else { panic!("not one problem, but:\n{said}\nin:\n{text}") };
        assert_eq!(problem.place.file(), Some(Path::new("/etc/sensor/sensor.toml")));
        assert_eq!(problem.place.line(), *line, "{said}\nin:\n{text}");
        assert!(problem.found.contains(found), "{said}\ndoes not say it found {found}, in:\n{text}");
        assert!(problem.advice.contains(advice), "{said}\ndoes not advise {advice}, in:\n{text}");
        assert!(said.contains(&format!("/etc/sensor/sensor.toml, line {line}: ")), "{said}");
        assert!(!said.contains("hunter2"), "{said}");
        assert!(!format!("{error:?}").contains("hunter2"));
    }
}

#[test]
fn all_problems_come_at_once() {
    let text = "\
sensr = \"x\"
memory = \"lots\"
workers = 999

[decap]
vxlan_ports = [0, 70000]
max_depth = 99

[upload]
url = \"edge\"
timeout = 5

[upload.oauth]
client_id = \"\"
client_secret = \"hunter2\"

[[capture]]
name = \"a\"

[[filters.rule]]
name = \"r\"
kind = \"drop\"
status = [\"9xx\", 404, 1000]

[mask]
detectors = { iban = \"no\", ssn = \"redact\" }
";
    let error = fault(text);
    let lines: Vec<u32> = error.problems().iter().map(|problem| problem.place.line()).collect();
    assert_eq!(lines, [1, 2, 3, 6, 6, 7, 10, 11, 13, 14, 15, 17, 22, 23, 23, 26, 26], "{error}");
    assert!(error.to_string().starts_with("the configuration has 17 problems\n"), "{error}");
    assert!(!error.to_string().contains("hunter2"));
}

#[test]
fn what_is_no_toml_hides_neither_other_faults_nor_invents_any() {
    // The second value cannot be read, and is not said to be wrong a second time; the third and last are wrong, too.
    let error = fault("quiet = true\nmemory = lots\nworkers = -1\n[upload.oauth]\nclient_id = 5\n");
    let lines: Vec<u32> = error.problems().iter().map(|problem| problem.place.line()).collect();
    assert_eq!(lines, [2, 3, 5], "{error}");
    // Below a heading that cannot be read, nobody knows where keys belong.
    let error = fault("workers = -1\n[upload\nurl = 'https://a.example'\ntimeout = 5\n");
    let lines: Vec<u32> = error.problems().iter().map(|problem| problem.place.line()).collect();
    assert_eq!(lines, [1, 2], "{error}");
}

fn sensor() -> Command {
    let mut command = Command::cargo_bin("sensor").unwrap();
    command.env_clear();
    command
}

#[test]
fn nothing_starts_half_way() {
    let folder = tempfile::tempdir().unwrap();
    let (file, capture, output) =
        (folder.path().join("sensor.toml"), folder.path().join("a.pcap"), folder.path().join("out.ndjson"));
    fs::write(&capture, b"").unwrap();
    // One of each kind of section does: all of them come from the same check.
    for (text, (_, line, _, _)) in cases().iter().step_by(7) {
        fs::write(&file, text).unwrap();
        let mut replay = sensor();
        replay.arg("replay").arg(&capture).arg("-o").arg(&output).arg("--config").arg(&file);
        let result = replay.assert().code(2).stdout("");
        let said = String::from_utf8_lossy(&result.get_output().stderr).into_owned();
        // A text at hand includes nothing; a file does, and the folder is not there.
        assert!(said.contains(&format!("sensor.toml, line {line}: ")), "{said}\nin:\n{text}");
        assert!(!output.exists(), "the output was opened for:\n{text}");
    }
}

#[test]
fn limits_that_do_not_fit_together_are_found_by_every_command() {
    let folder = tempfile::tempdir().unwrap();
    let (file, capture) = (folder.path().join("sensor.toml"), folder.path().join("a.pcap"));
    fs::write(&capture, b"").unwrap();
    let commands = || {
        let [mut config, mut check, mut replay] = [sensor(), sensor(), sensor()];
        config.args(["config", "--check"]).arg(&file);
        check.args(["check", "--config"]).arg(&file);
        replay.arg("replay").arg(&capture).arg("--config").arg(&file);
        [config, check, replay]
    };
    for (text, part) in [
        ("memory = '1KiB'", "line 1: memory: 1KiB is too little for 1 worker(s); give at least"),
        ("memory = '64MiB'\nworkers = 9", "line 1: memory: 64MiB is too little for 9 worker(s); give at least"),
        ("[bodies]\nlimit = '64GiB'", "line 2: bodies.limit: 64GiB does not fit in memory 1GiB"),
        ("[bodies]\ndecoded_limit = '1GiB'", "line 2: bodies.decoded_limit: 1GiB does not fit in memory 1GiB"),
    ] {
        fs::write(&file, text).unwrap();
        for mut command in commands() {
            let result = command.assert().code(2).stdout("");
            let said = String::from_utf8_lossy(&result.get_output().stderr).into_owned();
            assert!(said.contains(part), "{said}\nin:\n{text}");
        }
    }
    fs::write(&file, "memory = '64MiB'\nworkers = 1\n[bodies]\nlimit = '1MiB'\ndecoded_limit = '1MiB'").unwrap();
    let [mut config, mut check, _] = commands();
    config.assert().code(0);
    check.assert().code(0);
}

#[test]
fn the_command_checks_prints_and_generates() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("sensor.toml");
    let example = sensor().args(["config", "--example"]).assert().code(0).stderr("");
    fs::write(&file, &example.get_output().stdout).unwrap();
    let check = |code: i32| sensor().args(["config", "--check"]).arg(&file).assert().code(code);
    let stdout =
        |assert: &assert_cmd::assert::Assert| String::from_utf8_lossy(&assert.get_output().stdout).into_owned();
    let stderr =
        |assert: &assert_cmd::assert::Assert| String::from_utf8_lossy(&assert.get_output().stderr).into_owned();
    assert!(stdout(&check(0)).contains("nothing is wrong"));

    fs::write(&file, "workers = 3\n[mask]\nenabled = false\n").unwrap();
    let checked = check(0);
    assert!(stderr(&checked).contains("warning: ") && stderr(&checked).contains("line 3"));
    let printed =
        sensor().env("SENSOR_MEMORY", "2GiB").args(["config", "--print", "--config"]).arg(&file).assert().code(0);
    for part in ["memory = \"2GiB\"  # SENSOR_MEMORY\n", "sensor.toml:1\n", "quiet = false  # default\n"] {
        assert!(stdout(&printed).contains(part), "{}", stdout(&printed));
    }
    // What is checked is the file; what is printed is in force.
    let wrong = sensor().env("SENSOR_MEMORY", "lots").args(["config", "--print"]).assert().code(2).stdout("");
    assert!(
        stderr(&wrong).contains("environment variable SENSOR_MEMORY: memory: found \"lots\""),
        "{}",
        stderr(&wrong)
    );

    fs::write(&file, "workers = -3\nsensr = 1\n").unwrap();
    let refused = check(2);
    assert!(stderr(&refused).contains("2 problems") && stderr(&refused).contains("line 2"), "{}", stderr(&refused));

    let schema = sensor().args(["config", "--schema"]).assert().code(0);
    assert!(
        serde_json::from_slice::<serde_json::Value>(&schema.get_output().stdout).unwrap()["properties"].is_object()
    );
    for wrong in [
        &["config"][..],
        &["config", "--example", "--schema"],
        &["config", "--check"],
        &["config", "--example", "--config", "x"],
    ] {
        sensor().args(wrong).assert().code(2);
    }
}

/// Each of these was accepted, and true of nothing.
#[test]
fn conditions_that_nothing_can_meet_are_refused_with_what_to_write() {
    for (condition, advice) in [
        ("path = ['exact:/x?y=1']", "leave the query out"),
        ("path = ['/%58']", "write `/X`"),
        ("path = ['glob:/a%2fb/*']", "write `glob:/a%2Fb/*`"),
        ("path = ['/a/..']", "write `/`"),
        ("host = ['a.example.']", "write `a.example`"),
        ("host = ['glob:*.example.']", "write `glob:*.example`"),
        ("host = ['::1']", "`[::1]`"),
        ("host = ['[2001:DB8:0::1]']", "`[2001:db8::1]`"),
        ("host = ['a.example:80']", "use `port`"),
        ("host = ['a.example/path']", "more than a host"),
        ("path = ['a']", "write `/a` or `glob:*a`"),
        ("path = ['glob:a*']", "write `glob:/a*` or `glob:*a*`"),
        ("path = ['a%41{b}/../c']", "write `/c` or `"),
        ("path = ['a*']", "write \"glob:/a*\", or \"exact:/a*\""),
        ("path = ['*a']", "write \"glob:*a\""),
        ("path = ['/a*{b']", "write \"exact:/a*{b\""),
        ("path = ['exact:a*']", "write `exact:/a*`"),
        ("host = ['*.example']", "write \"glob:*.example\""),
        ("host = ['x.{a}.example.']", "write `x.{a}.example`"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("sensor.toml");
        fs::write(&file, format!("[[filters.rule]]\nname = 'a'\nkind = 'allow'\n{condition}")).unwrap();
        let run = sensor().arg("config").arg("--check").arg(&file).output().unwrap();
        let said = String::from_utf8(run.stderr).unwrap();
        assert_eq!(run.status.code(), Some(2), "{condition}: {said}");
        let is_placed = said.contains("sensor.toml, line 4: filters.rule");
        assert!(is_placed && said.contains(advice), "{condition}: {said}");
        // What is to be written is not refused in turn.
        let (key, _) = condition.split_once(" = ").unwrap();
        for quote in ['`', '"'] {
            let texts = said.rsplit_once("write ").map_or("", |(_, texts)| texts.split("; ").next().unwrap());
            let texts = texts.split(quote).skip(1).step_by(2);
            for text in texts.filter(|text| *text != "port") {
                let rule = format!("[[filters.rule]]\nname = 'a'\nkind = 'allow'\n{key} = ['{text}']");
                fs::write(&file, &rule).unwrap();
                let run = sensor().arg("config").arg("--check").arg(&file).output().unwrap();
                assert_eq!(run.status.code(), Some(0), "{condition}: {text}: {}", String::from_utf8_lossy(&run.stderr));
            }
        }
    }
    let fine = "[[filters.rule]]\nname = 'a'\nkind = 'allow'\nhost = ['[2001:db8::1]', 'regex:\\.$', 'A.Example']\npath = ['/a%2Fb', 'glob:/?', 'glob:*..', '/.well-known', '*']\nvni = [4294967295]\n".replace("'*'", "'glob:*'");
    Loaded::parse(&fine, Path::new("sensor.toml")).unwrap();
    let odd = "[[filters.rule]]\nname = 'a'\nkind = 'allow'\npath = ['glob:/search?q=*']";
    let notes = Loaded::parse(odd, Path::new("sensor.toml")).unwrap().notes;
    assert!(notes[0].contains("sensor.toml, line 4: filters.rule.path: a path has no query"), "{notes:?}");
}

#[test]
fn what_is_in_force_is_printed_without_secrets_and_compared_with_them() {
    let rule = |secret: &str| {
        let text = format!(
            "[[mask.pattern]]\nname = 'p'\nregex = 'password=[a-z]+'\naction = 'redact'\n[[filters.rule]]\nname = 'c'\nkind = 'allow'\npath = ['/login', 'glob:/login?password={secret}']\n[[filters.rule]]\nname = 'a'\nkind = 'allow'\nheader = {{ authorization = 'Bearer {secret}', cookie = 'glob:*{secret}*', x-debug = true, user-agent = 'glob:kube-probe/*' }}\n[[filters.rule]]\nname = 'b'\nkind = 'allow'\nheader = {{ authorization = 'glob:Basic *' }}"
        );
        Loaded::parse(&text, Path::new("sensor.toml")).unwrap()
    };
    let (one, other) = (rule("hunter2"), rule("hunter3"));
    let printed = one.print();
    assert!(!printed.contains("hunter2"), "{printed}");
    for shown in [
        "path = [\"/login\", \"(28 characters, not shown)\"]",
        "regex = \"password=[a-z]+\"",
        "x-debug = true",
        "user-agent = \"glob:kube-probe/*\"",
        "authorization = \"glob:Basic *\"",
    ] {
        assert!(printed.contains(shown), "{printed}");
    }
    assert_eq!(printed, other.print());
    let changes: Vec<_> = one.changes(&other).into_iter().map(|change| change.key).collect();
    assert_eq!(changes, ["filters.rule[0].path", "filters.rule[1].header"]);
}
