//! What an operator can choose about records.

/// What an operator can choose about records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordOptions {
    /// The sensor's name, which each record carries.
    pub sensor: String,
    /// The most bytes that a body is decoded to when it has a content coding.
    pub decode_limit: usize,
    /// The most bytes that the bodies of one record may take in its line, together. What is beyond it is left out, and
    /// the record flagged `body_not_captured`.
    pub content_limit: usize,
    /// How a record is written.
    pub shape: Shape,
}

/// How a record is written (docs/output-format.md).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Shape {
    /// Everything that is known, losslessly.
    #[default]
    Native,
    /// As the platform's ingestion API takes it.
    Edge(EdgeOptions),
}

/// What the platform is told about where its records come from, and choices that its documentation leaves open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EdgeOptions {
    /// `version`: of the record format.
    pub version: String,
    /// `source_info.version`: of the sensor.
    pub source_version: String,
    /// `source_info.pool_id`: which group of sensors it is one of.
    pub pool_id: String,
    /// `source_info.instance_id`: which one it is.
    pub instance_id: String,
    /// `http-scheme` where the request does not tell it.
    pub scheme: String,
    /// `filter_info.filter_name`; `None` leaves `filter_info` out.
    pub filter_name: Option<String>,
    /// How header values are written.
    pub header_values: HeaderValues,
    /// The most bytes of a body in `data`, before base64. Longer ones are cut, and say so.
    pub body_limit: usize,
    /// What becomes of requests without a response.
    pub unanswered: Unanswered,
}

impl Default for EdgeOptions {
    fn default() -> Self {
        Self {
            version: "1.0".to_owned(),
            source_version: env!("CARGO_PKG_VERSION").to_owned(),
            pool_id: String::new(),
            instance_id: String::new(),
            scheme: "http".to_owned(),
            filter_name: None,
            header_values: HeaderValues::Base64,
            body_limit: 32 << 10,
            unanswered: Unanswered::WithoutResponse,
        }
    }
}

/// What becomes of requests without a response in edge records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Unanswered {
    /// They are written without `response`.
    #[default]
    WithoutResponse,
    /// They are written with a `response` of this status code, without fields and body.
    Status(u16),
    /// They are not written, as orphans are not.
    Left,
}

/// How the value of a field stands behind its name and a colon in edge records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum HeaderValues {
    /// In base64: `"Host:YS5leGFtcGxl"`.
    #[default]
    Base64,
    /// As text, each sequence that is not UTF-8 replaced by U+FFFD: `"Host:a.example"`.
    Text,
}
