//! What masking replaces is what is written, in both shapes, wherever a value stands.

use http_parse::{Flag, MessageKind};
use sensor::record::{
    EdgeOptions, Finding, FindingForm, Findings, Masked, MaskedBody, Masking, RecordWriter, Shape, Unmasked,
};
use serde_json::{Value, json};

use super::support::{Sample, request, response, shapes, with_body};

const SECRET: &str = "s3cr3t";

/// Puts `***` for a value that holds the secret; drops bodies whose content type says so.
#[derive(Debug, Default)]
struct Stars {
    found: u64,
    form: FindingForm,
}

impl Stars {
    fn mask(&mut self, value: &[u8]) -> Masked<'_> {
        if !value.windows(SECRET.len()).any(|window| window == SECRET.as_bytes()) {
            return Masked::Kept;
        }
        self.found += 1;
        Masked::Replaced(b"/***?\"")
    }
}

impl Masking for Stars {
    fn begin(&mut self, form: FindingForm) {
        self.form = form;
        self.found = 0;
    }

    fn target(&mut self, target: &[u8]) -> Masked<'_> {
        self.mask(target)
    }

    fn field(&mut self, _: MessageKind, _: &[u8], value: &[u8]) -> Masked<'_> {
        self.mask(value)
    }

    fn header(&mut self, _: MessageKind, _: &[u8], value: &[u8]) -> Masked<'_> {
        self.mask(value)
    }

    fn body(&mut self, _: MessageKind, content_type: Option<&[u8]>, bytes: &[u8], _: bool) -> MaskedBody<'_> {
        if content_type == Some(b"application/x-key") {
            return MaskedBody::Dropped;
        }
        match self.mask(bytes) {
            Masked::Kept => MaskedBody::Kept,
            Masked::Replaced(bytes) => MaskedBody::Replaced(bytes),
        }
    }

    fn start_line(&mut self, _: MessageKind, part: &[u8]) -> Masked<'_> {
        self.mask(part)
    }

    fn raw_start_line(&mut self, _: MessageKind, line: &[u8]) -> Masked<'_> {
        self.mask(line)
    }

    fn keeps_coded(&mut self, _: MessageKind, _: &[u8]) -> bool {
        false
    }

    fn findings(&self) -> Findings {
        Findings { skipped: false, found: self.found, transformed: self.found }
    }

    fn append_list(&self, out: &mut Vec<u8>) -> u64 {
        for at in 0..self.found {
            let (name, location, field) = ("KEY", "REQUEST_BODY", "a.\"b\"");
            self.form.append(&Finding { name, location, field, action: "redact", start: at, end: at + 6 }, out);
        }
        self.found
    }
}

fn write(sample: &Sample, shape: Shape) -> Value {
    let mut out = Vec::new();
    sample.write_with(&mut RecordWriter::with_masking(sample.options(shape), Stars::default()), &mut out);
    assert!(!String::from_utf8_lossy(&out).contains(SECRET));
    serde_json::from_slice(&out).expect("a record is JSON")
}

/// The secret in every value that an exchange has.
fn secrets() -> Sample {
    let mut sample = Sample::pair();
    let mut asked = with_body(request("POST", "http://s3cr3t.example/s3cr3t?s3cr3t", &[("Host", SECRET)]), b"s3cr3t");
    asked.method_or_reason = SECRET.into();
    asked.trailers = vec![(b"T".to_vec(), SECRET.into())];
    asked.flags.insert(Flag::InvalidStartLine);
    let mut answer = with_body(response(200, SECRET, &[("X", "a s3cr3t"), ("Y", "none")]), b"{\"a\":\"s3cr3t\"}");
    answer.method_or_reason.push(0xff);
    (sample.request, sample.response) = (Some(asked), Some(answer));
    sample
}

#[test]
fn no_value_gets_by_in_a_native_record() {
    let record = write(&secrets(), Shape::Native);
    let asked = &record["request"];
    for part in ["method", "target"] {
        assert_eq!(asked[part], "/***?\"", "{part}");
    }
    // Taken from what stands for the target.
    assert_eq!((&asked["path"], &asked["query"], &asked["host"]), (&"/***".into(), &"\"".into(), &"/***?\"".into()));
    assert_eq!(asked["headers"], json!([["Host", "/***?\""]]));
    assert_eq!(asked["trailers"], json!([["T", "/***?\""]]));
    assert_eq!(asked["start_line_base64"], "LyoqKj8i");
    assert_eq!((&asked["body"]["content"], &asked["body"]["bytes"]), (&"/***?\"".into(), &6.into()));
    let answer = &record["response"];
    assert_eq!((&answer["reason"], &answer["start_line_base64"]), (&"/***?\"".into(), &Value::Null));
    assert_eq!(answer["headers"], json!([["X", "/***?\""], ["Y", "none"]]));
    assert_eq!(answer["body"]["content"], "/***?\"");
}

#[test]
fn no_value_gets_by_in_an_edge_record() {
    let record = write(&secrets(), Shape::Edge(EdgeOptions::default()));
    assert!(!record.to_string().contains("czNjcjN0"), "nor in base64: {record:#}");
    assert_eq!(record["request"]["uri-query-fragment"], "/***?\"");
    assert_eq!(record["request"]["headers"], json!(["Host:LyoqKj8i"]));
    assert_eq!(record["request"]["body"], json!({"length": 6, "data": "LyoqKj8i"}));
    let found = &record["txn-meta-data"]["sdp_info"];
    assert_eq!((&found["skipped"], &found["found"]), (&false.into(), &found["transformed"]));
    let locations = found["locations"].as_array().expect("a list");
    assert_eq!(locations.len() as u64, found["found"].as_u64().expect("a number"));
    let first =
        json!({"name": "KEY", "type": "SDE", "location": "REQUEST_BODY", "field": "a.\"b\"", "start": 0, "end": 6});
    assert_eq!(locations[0], first);
}

#[test]
fn a_dropped_body_says_that_it_is_not_whole() {
    let key = with_body(response(200, "OK", &[("Content-Type", "application/x-key")]), b"something");
    let sample = Sample { response: Some(key), ..Sample::pair() };
    let native = write(&sample, Shape::Native)["response"]["body"].take();
    assert_eq!((&native["content"], &native["truncated"], &native["bytes"]), (&Value::Null, &true.into(), &9.into()));
    let edge = write(&sample, Shape::Edge(EdgeOptions::default()))["response"].take();
    assert_eq!(edge["body"], json!({"length": 9, "data": ""}));
    assert_eq!(edge["headers"][0], "cq-body-truncated:dHJ1ZQ==");
}

/// What is found in one record is not told in the next; what holds no secret is written as without masking.
#[test]
fn records_do_not_mix() {
    for shape in [Shape::Native, Shape::Edge(EdgeOptions::default())] {
        let mut masked = RecordWriter::with_masking(Sample::pair().options(shape.clone()), Stars::default());
        let mut plain = RecordWriter::with_masking(Sample::pair().options(shape), Unmasked);
        for (name, sample) in shapes() {
            masked_after_secrets(&mut masked, &mut plain, &sample, name);
        }
    }
}

fn masked_after_secrets(
    masked: &mut RecordWriter<Stars>,
    plain: &mut RecordWriter<Unmasked>,
    sample: &Sample,
    name: &str,
) {
    let (mut with, mut without) = (Vec::new(), Vec::new());
    secrets().write_with(masked, &mut Vec::new());
    sample.write_with(masked, &mut with);
    sample.write_with(plain, &mut without);
    let text = String::from_utf8(without).expect("UTF-8").replace("\"skipped\":true", "\"skipped\":false");
    assert_eq!(String::from_utf8(with).expect("UTF-8"), text, "{name}");
}
