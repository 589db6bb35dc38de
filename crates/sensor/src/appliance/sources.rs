//! What the configuration's `[[capture]]` sections come to: one plan for each interface and each socket.

use std::collections::HashSet;
use std::sync::Arc;

use crate::config::{Config, Encapsulation};
use crate::live::{InterfaceOptions, ListenerOptions, Pattern, Share, SourceKind, SourcePlan};

/// Nothing to capture from.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SourcesError {
    /// No section.
    #[error(
        "the configuration names nothing to capture from: write a [[capture]] with interface = \"eth1\", or with listen and encapsulation; 'sensor interfaces' lists what there is"
    )]
    None,
    /// A required pattern without a match.
    #[error("no interface matches {pattern}, which is required: 'sensor interfaces' lists those there are")]
    Unmatched {
        /// The pattern.
        pattern: String,
    },
    /// A pattern that is none.
    #[error("capture.interface: {0}")]
    Pattern(String),
}

/// The plans of every section; `present` are the names of the interfaces there are, `base` what `[decap]` says.
///
/// # Errors
/// When there is nothing to capture from, or nothing for a required pattern.
pub fn sources(config: &Config, base: &decap::Config, present: &[String]) -> Result<Vec<SourcePlan>, SourcesError> {
    let mut plans: Vec<SourcePlan> = Vec::new();
    for capture in &config.capture {
        let mut decap = base.clone();
        capture.decap.apply_to(&mut decap);
        if let Some(address) = capture.listen {
            carry(&mut decap, address.port(), capture.encapsulation.unwrap_or(Encapsulation::Vxlan));
            let name = capture.name.clone().unwrap_or_else(|| address.to_string());
            let threads = capture.threads.unwrap_or(1);
            for number in 1..=threads {
                let share = match number {
                    _ if threads == 1 => Share::Alone,
                    1 => Share::First,
                    _ => Share::Further,
                };
                let options = ListenerOptions { address, buffer_bytes: capture.ring.as_usize(), share };
                plans.push(SourcePlan {
                    name: if number == 1 { name.clone() } else { format!("{name}#{number}") },
                    kind: SourceKind::Listener(options),
                    pattern: None,
                    decap: decap.clone(),
                    is_required: capture.required,
                    held_ports: Vec::new(),
                });
            }
            continue;
        }
        let given = capture.interface.as_deref().unwrap_or("any");
        let pattern = Pattern::is_one(given).then(|| Pattern::new(given, capture.name.as_deref()));
        let pattern = pattern.transpose().map_err(SourcesError::Pattern)?.map(Arc::new);
        let mut interfaces: Vec<Option<&str>> = match &pattern {
            Some(pattern) => {
                present.iter().map(String::as_str).filter(|name| pattern.matches(name)).map(Some).collect()
            }
            None => vec![Some(given)],
        };
        if interfaces.is_empty() {
            if capture.required {
                return Err(SourcesError::Unmatched { pattern: given.to_owned() });
            }
            tracing::warn!("no interface matches {given} now");
        }
        if let Some(pattern) = &pattern {
            interfaces.iter().flatten().for_each(|name| pattern.take(name));
            interfaces.extend((0..capture.spare).map(|_| None));
        }
        let held_ports = if capture.hold_port { decap.udp_ports() } else { vec![] };
        for (number, interface) in (1..).zip(interfaces) {
            let name = match &pattern {
                // Whichever interface it has, its own name is what others of the pattern are not called.
                Some(_) => format!("{} #{number}", capture.name.as_deref().unwrap_or(given)),
                None => capture.name.clone().unwrap_or_else(|| given.to_owned()),
            };
            plans.push(SourcePlan {
                name,
                kind: SourceKind::Interface(InterfaceOptions {
                    name: interface.unwrap_or_default().to_owned(),
                    promiscuous: capture.promiscuous,
                    ring_bytes: capture.ring.as_usize(),
                    filter: both(config.filter.as_deref(), capture.filter.as_deref()),
                }),
                pattern: pattern.clone(),
                decap: decap.clone(),
                is_required: capture.required,
                held_ports: held_ports.clone(),
            });
        }
    }
    if plans.is_empty() {
        return Err(SourcesError::None);
    }
    name_apart(&mut plans);
    // Memory for fragments is one part of the whole, over all sources.
    let count = plans.len();
    for plan in &mut plans {
        plan.decap.fragment_memory /= count;
    }
    Ok(plans)
}

/// One interface may stand in two sections, with a filter each: what is counted of them is not to be mixed up.
fn name_apart(plans: &mut [SourcePlan]) {
    let mut names: HashSet<String> = HashSet::new();
    for plan in plans {
        let mut name = plan.name.clone();
        let mut number = 2;
        while !names.insert(name.clone()) {
            name = format!("{} ({number})", plan.name);
            number += 1;
        }
        plan.name = name;
    }
}

/// Two filters as one.
fn both(one: Option<&str>, other: Option<&str>) -> Option<String> {
    let given = |filter: Option<&str>| filter.map(str::trim).filter(|filter| !filter.is_empty()).map(str::to_owned);
    match (given(one), given(other)) {
        (Some(one), Some(other)) => Some(format!("({one}) and ({other})")),
        (one, other) => one.or(other),
    }
}

/// Makes `port` one of `encapsulation`, and of nothing else.
fn carry(decap: &mut decap::Config, port: u16, encapsulation: Encapsulation) {
    for (_, list) in decap.udp_port_lists_mut() {
        list.retain(|known| *known != port);
    }
    match encapsulation {
        Encapsulation::Vxlan => decap.vxlan_ports.push(port),
        Encapsulation::VxlanGpe => decap.vxlan_gpe_ports.push(port),
        Encapsulation::Geneve => decap.geneve_ports.push(port),
        Encapsulation::GtpU => decap.gtpu_ports.push(port),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::{Capture, Loaded};

    fn planned(text: &str) -> Result<Vec<SourcePlan>, SourcesError> {
        let loaded = Loaded::parse(text, Path::new("sensor.toml")).unwrap();
        let present = ["any", "eth0", "eth1", "lo"].map(str::to_owned);
        sources(&loaded.config, &decap::Config::default(), &present)
    }

    #[test]
    fn a_pattern_is_every_interface_that_matches() {
        let plans = planned("[[capture]]\ninterface = 'eth*'\nname = 'tap'\n[[capture]]\ninterface = 'any'").unwrap();
        let names: Vec<_> = plans.iter().map(|plan| plan.name.as_str()).collect();
        assert_eq!(names, ["tap #1", "tap #2", "tap #3", "any"]);
        let interfaces = plans.iter().map(|plan| match &plan.kind {
            SourceKind::Interface(options) => options.name.as_str(),
            SourceKind::Listener(_) => unreachable!(),
        });
        assert_eq!(interfaces.collect::<Vec<_>>(), ["eth0", "eth1", "", "any"], "and one that may come");
        assert!(plans.iter().all(|plan| plan.held_ports.contains(&4_789)));
        assert_eq!(planned("[[capture]]\ninterface = 'wlan*'\nspare = 3").unwrap().len(), 3, "they may come");
        assert_eq!(planned("[[capture]]\ninterface = 'wlan*'\nspare = 0").unwrap_err(), SourcesError::None);
        let required = planned("[[capture]]\ninterface = 'wlan?'\nrequired = true").unwrap_err();
        assert!(required.to_string().contains("wlan?"));
        assert_eq!(planned("").unwrap_err(), SourcesError::None);
    }

    #[test]
    fn a_listened_port_is_of_its_encapsulation_alone() {
        let plans = planned(
            "[[capture]]\nlisten = '127.0.0.1:4789'\nencapsulation = 'geneve'\nthreads = 2\n[[capture]]\ninterface = 'lo'\nfilter = 'udp'",
        )
        .unwrap();
        assert_eq!(plans.len(), 3);
        assert_eq!(plans[1].name, "127.0.0.1:4789#2");
        assert!(plans[0].decap.geneve_ports.contains(&4_789) && !plans[0].decap.vxlan_ports.contains(&4_789));
        assert_eq!(plans.iter().filter(|plan| plan.held_ports.contains(&4_789)).count(), 1, "the socket's is its own");
        assert!(plans[2].decap.vxlan_ports.contains(&4_789));
    }

    #[test]
    fn sources_of_one_name_are_told_apart() {
        let twice = "[[capture]]\ninterface = 'eth0'\nfilter = 'tcp'\n".repeat(3);
        let plans = planned(&format!("{twice}[[capture]]\ninterface = 'eth0'\nname = 'eth0 (2)'\n")).unwrap();
        let names: Vec<_> = plans.iter().map(|plan| plan.name.as_str()).collect();
        assert_eq!(names, ["eth0", "eth0 (2)", "eth0 (3)", "eth0 (2) (2)"]);
    }

    #[test]
    fn a_class_of_characters_is_refused_with_what_to_write() {
        let error = sources(
            &Config {
                capture: vec![Capture { interface: Some("eth[01]".to_owned()), ..Capture::default() }],
                ..Config::default()
            },
            &decap::Config::default(),
            &[],
        );
        let error = error.unwrap_err().to_string();
        assert!(error.contains("eth[01]") && error.contains("eth{0,1}"), "{error}");
    }

    #[test]
    fn filters_are_joined() {
        assert_eq!(both(Some("tcp"), Some("port 80 or 81")).unwrap(), "(tcp) and (port 80 or 81)");
        assert_eq!(both(Some(" "), None), None);
    }
}
