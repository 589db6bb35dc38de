//! Sets of exclude rules for what operators most often want to have left out.
//!
//! A request can be given any path and any User-Agent, so a set that went by either alone would be a place to hide attacks in.
//! Each rule therefore asks for more: a request without a body, and a response that is what it pretends to be, or a success. One
//! that goes by the User-Agent asks for a path that such probes are most often given, for no credentials, and for a short
//! response: what else could be asked for by a client that takes a probe's name is not worth hiding.

use super::settings::{Conditions, HeaderCondition, HeaderTest, Kind, Pattern, RuleSettings};

/// A set of rules that can be switched on by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum BuiltIn {
    /// Scripts, styles, images, fonts and media: by the path's extension together with the response's media type, or with a 304.
    StaticAssets,
    /// Health checks of load balancers and orchestrators that were answered with success.
    HealthChecks,
    /// The probes and scrapes of service meshes: on the ports and paths that their sidecars reserve.
    MeshProbes,
    /// Requests that a proxy sent a second time, to a host whose name ends in `-shadow`.
    ShadowTraffic,
}

impl BuiltIn {
    /// Every set.
    pub const ALL: &'static [Self; 4] =
        &[Self::StaticAssets, Self::HealthChecks, Self::MeshProbes, Self::ShadowTraffic];

    /// The stable `snake_case` name used in configuration; the names of its rules begin with it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::StaticAssets => "static_assets",
            Self::HealthChecks => "health_checks",
            Self::MeshProbes => "mesh_probes",
            Self::ShadowTraffic => "shadow_traffic",
        }
    }

    /// The set's rules.
    #[must_use]
    pub fn rules(self) -> Vec<RuleSettings> {
        let rule = |part: &str, conditions| RuleSettings {
            name: if part.is_empty() { self.name().to_owned() } else { format!("{}.{part}", self.name()) },
            kind: Kind::Exclude,
            conditions,
            sampling: None,
        };
        // What has no body says nothing of one.
        let bodiless = vec![absent("content-length"), absent("transfer-encoding")];
        let reads =
            Conditions { method: globs(&["GET", "HEAD"]), request_headers: bodiless.clone(), ..Conditions::default() };
        let answered = Conditions { status: vec!["2xx".to_owned()], ..reads.clone() };
        let probes = |agents: &[&str], more: &[&str]| Conditions {
            path: globs(PROBED_PATHS).into_iter().chain(globs(HEALTH_PATHS)).chain(globs(more)).collect(),
            request_headers: [
                bodiless,
                vec![absent("authorization"), absent("cookie"), sole("user-agent", globs(agents))],
            ]
            .concat(),
            response_headers: vec![sole("content-length", vec![Pattern::Regex("^[0-9]{1,3}$".to_owned())])],
            ..answered.clone()
        };
        match self {
            Self::StaticAssets => {
                let assets = Conditions { path: globs(ASSET_PATHS), ..reads };
                vec![
                    rule("", Conditions { content_type: globs(ASSET_TYPES), ..assets.clone() }),
                    rule("not_modified", Conditions { status: vec!["304".to_owned()], ..assets }),
                ]
            }
            Self::HealthChecks => vec![
                rule("paths", Conditions { path: globs(HEALTH_PATHS), ..answered.clone() }),
                rule("agents", probes(HEALTH_AGENTS, &[])),
            ],
            Self::MeshProbes => vec![
                rule("ports", Conditions { port: texts(MESH_PORTS), path: globs(MESH_PORT_PATHS), ..reads }),
                rule("paths", Conditions { path: globs(MESH_PATHS), ..answered.clone() }),
                rule("agents", probes(MESH_AGENTS, MESH_PORT_PATHS)),
            ],
            Self::ShadowTraffic => {
                vec![rule("", Conditions { host: globs(&["*-shadow"]), ..Conditions::default() })]
            }
        }
    }
}

const ASSET_PATHS: &[&str] = &[
    "*.{js,mjs,css,map,wasm}",
    "*.{png,jpg,jpeg,gif,svg,ico,webp,avif,bmp}",
    "*.{woff,woff2,ttf,otf,eot}",
    "*.{mp3,mp4,webm,ogg,m4a,m4s,ts}",
];
/// A source map is JSON as far as its type goes, and so is many a thing that is none; hence it is not here.
const ASSET_TYPES: &[&str] = &[
    "image/*",
    "font/*",
    "audio/*",
    "video/*",
    "text/css",
    "text/javascript",
    "application/{javascript,x-javascript,wasm,font-woff,font-woff2,x-font-ttf,vnd.ms-fontobject}",
];

const HEALTH_PATHS: &[&str] = &[
    "/{health,healthz,livez,readyz,live,ready,liveness,readiness,ping,heartbeat}",
    "/{health,healthz}/{live,ready,liveness,readiness,startup}",
    "/{livez,readyz}/*",
    "/{_health,__health,_healthz,-/healthy,-/ready}",
    "/actuator/health",
    "/actuator/health/{liveness,readiness}",
];
/// What load balancers and orchestrators ask for unless they are told otherwise, and what they are told most often.
const PROBED_PATHS: &[&str] = &[
    "/",
    "/index.{html,htm}",
    "/{status,up,alive,startup,startupz,healthcheck,health-check,health_check}",
    "/{api,v1,api/v1}/{health,healthz,ping,status}",
];
const HEALTH_AGENTS: &[&str] = &[
    "ELB-HealthChecker/*",
    "GoogleHC/*",
    "kube-probe/*",
    "Amazon-Route53-Health-Check-Service*",
    "Consul Health Check",
    "Edge Health Probe",
    "Load Balancer Agent",
];

/// Istio's agent, health and metrics ports; Linkerd's.
const MESH_PORTS: &[&str] = &["15000", "15004", "15020", "15021", "15090", "4190", "4191"];
const MESH_PORT_PATHS: &[&str] =
    &["/healthz/ready", "/stats", "/stats/prometheus", "/metrics", "/live", "/ready", "/app-health/*"];
/// What Istio makes of the probes of a pod.
const MESH_PATHS: &[&str] = &["/app-health/*/{livez,readyz,startupz}", "/app-lifecycle/*"];
const MESH_AGENTS: &[&str] = &["Envoy/HC", "envoy-health-check*", "linkerd-*probe*"];

fn globs(texts: &[&str]) -> Vec<Pattern> {
    texts.iter().map(|text| Pattern::Glob((*text).to_owned())).collect()
}

fn texts(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

fn absent(name: &str) -> HeaderCondition {
    HeaderCondition { name: name.to_owned(), test: HeaderTest::Absent }
}

fn sole(name: &str, values: Vec<Pattern>) -> HeaderCondition {
    HeaderCondition { name: name.to_owned(), test: HeaderTest::Sole(values) }
}
