//! What the configuration's `[[capture]]` sections come to: one plan for each interface and each socket.

use std::sync::Arc;

use crate::config::{Capture, Config, Encapsulation};
use crate::live::{InterfaceOptions, ListenerOptions, Pattern, SourceKind, SourcePlan};

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
}

/// The plans of every section; `present` are the names of the interfaces there are, `base` what `[decap]` says.
///
/// # Errors
/// When there is nothing to capture from, or nothing for a required pattern.
pub fn sources(config: &Config, base: &decap::Config, present: &[String]) -> Result<Vec<SourcePlan>, SourcesError> {
    let listened: Vec<u16> = config.capture.iter().filter_map(|one| one.listen).map(|at| at.port()).collect();
    let mut plans = Vec::new();
    for capture in &config.capture {
        let mut decap = adjusted(base, capture);
        if let Some(address) = capture.listen {
            carry(&mut decap, address.port(), capture.encapsulation.unwrap_or(Encapsulation::Vxlan));
            let options = ListenerOptions { address, buffer_bytes: capture.ring.as_usize() };
            let name = capture.name.clone().unwrap_or_else(|| address.to_string());
            for number in 1..=capture.threads.unwrap_or(1) {
                plans.push(SourcePlan {
                    name: if number == 1 { name.clone() } else { format!("{name}#{number}") },
                    kind: SourceKind::Listener(options.clone()),
                    pattern: None,
                    decap: decap.clone(),
                    is_required: capture.required,
                    held_ports: Vec::new(),
                });
            }
            continue;
        }
        let given = capture.interface.as_deref().unwrap_or("any");
        let pattern = Pattern::is_one(given).then(|| Arc::new(Pattern::new(given, capture.name.as_deref())));
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
        // A port that a socket of this sensor reads is answered for already.
        let held_ports = if capture.hold_port {
            udp_ports(&decap).filter(|port| !listened.contains(port)).collect()
        } else {
            vec![]
        };
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
                is_required: capture.required && interface.is_some(),
                held_ports: held_ports.clone(),
            });
        }
    }
    if plans.is_empty() {
        return Err(SourcesError::None);
    }
    // Memory for fragments is one part of the whole, over all sources.
    let count = plans.len();
    for plan in &mut plans {
        plan.decap.fragment_memory /= count;
    }
    Ok(plans)
}

/// Two filters as one.
fn both(one: Option<&str>, other: Option<&str>) -> Option<String> {
    let given = |filter: Option<&str>| filter.map(str::trim).filter(|filter| !filter.is_empty()).map(str::to_owned);
    match (given(one), given(other)) {
        (Some(one), Some(other)) => Some(format!("({one}) and ({other})")),
        (one, other) => one.or(other),
    }
}

/// `[decap]` with what the section says otherwise.
fn adjusted(base: &decap::Config, capture: &Capture) -> decap::Config {
    let (mut decap, given) = (base.clone(), capture.decap.clone());
    fn set<T>(place: &mut T, given: Option<T>) {
        if let Some(value) = given {
            *place = value;
        }
    }
    set(&mut decap.max_depth, given.max_depth);
    set(&mut decap.vxlan_ports, given.vxlan_ports);
    set(&mut decap.vxlan_gpe_ports, given.vxlan_gpe_ports);
    set(&mut decap.geneve_ports, given.geneve_ports);
    set(&mut decap.gtpu_ports, given.gtpu_ports);
    set(&mut decap.teredo_ports, given.teredo_ports);
    set(&mut decap.lisp_ports, given.lisp_ports);
    set(&mut decap.mpls_in_udp_ports, given.mpls_in_udp_ports);
    set(&mut decap.separate_virtual_networks, given.separate_virtual_networks);
    set(&mut decap.separate_vlans, given.separate_vlans);
    set(&mut decap.fragment_timeout, given.fragment_timeout);
    decap
}

fn port_lists(decap: &mut decap::Config) -> [&mut Vec<u16>; 7] {
    [
        &mut decap.vxlan_ports,
        &mut decap.vxlan_gpe_ports,
        &mut decap.geneve_ports,
        &mut decap.gtpu_ports,
        &mut decap.teredo_ports,
        &mut decap.lisp_ports,
        &mut decap.mpls_in_udp_ports,
    ]
}

fn udp_ports(decap: &decap::Config) -> impl Iterator<Item = u16> {
    let mut decap = decap.clone();
    port_lists(&mut decap).map(std::mem::take).into_iter().flatten()
}

/// Makes `port` one of `encapsulation`, and of nothing else.
fn carry(decap: &mut decap::Config, port: u16, encapsulation: Encapsulation) {
    for list in port_lists(decap) {
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
    use crate::config::Loaded;

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
    fn a_listened_port_is_of_its_encapsulation_alone_and_held_by_nobody() {
        let plans = planned(
            "[[capture]]\nlisten = '127.0.0.1:4789'\nencapsulation = 'geneve'\nthreads = 2\n[[capture]]\ninterface = 'lo'\nfilter = 'udp'",
        )
        .unwrap();
        assert_eq!(plans.len(), 3);
        assert_eq!(plans[1].name, "127.0.0.1:4789#2");
        assert!(plans[0].decap.geneve_ports.contains(&4_789) && !plans[0].decap.vxlan_ports.contains(&4_789));
        assert!(!plans[2].held_ports.contains(&4_789) && !plans[2].held_ports.is_empty());
        assert!(plans[2].decap.vxlan_ports.contains(&4_789));
    }

    #[test]
    fn filters_are_joined() {
        assert_eq!(both(Some("tcp"), Some("port 80 or 81")).unwrap(), "(tcp) and (port 80 or 81)");
        assert_eq!(both(Some(" "), None), None);
    }
}
