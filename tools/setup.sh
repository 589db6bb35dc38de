#!/usr/bin/env bash
# Installs what a build needs besides the Rust toolchain: a C compiler and libpcap's headers. Does nothing where they are.
set -euo pipefail

say() { echo "setup: $*" >&2; }

command -v cargo >/dev/null || [ -x "$HOME/.cargo/bin/cargo" ] || {
  say "no Rust toolchain found: install one from https://rustup.rs (1.95 or newer), then run this again"
  exit 2
}

has_headers() { echo '#include <pcap/pcap.h>' | cc -E -x c - >/dev/null 2>&1; }
if command -v cc >/dev/null && has_headers; then exit 0; fi

as_root=()
if [ "$(id -u)" != 0 ]; then
  command -v sudo >/dev/null || { say "installing system packages needs root: run this as root, or install a C compiler and libpcap's headers yourself"; exit 2; }
  as_root=(sudo)
fi

if command -v apt-get >/dev/null; then
  say "installing gcc and libpcap-dev with apt-get"
  "${as_root[@]}" apt-get update -qq
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends gcc libc6-dev libpcap-dev >/dev/null
elif command -v dnf >/dev/null; then
  say "installing gcc and libpcap-devel with dnf"
  "${as_root[@]}" dnf install -y -q gcc
  # Enterprise Linux keeps the headers in a repository that is off by default.
  "${as_root[@]}" dnf install -y -q libpcap-devel ||
    "${as_root[@]}" dnf install -y -q --enablerepo=crb libpcap-devel ||
    "${as_root[@]}" dnf install -y -q --enablerepo='codeready-builder-*' libpcap-devel
elif command -v yum >/dev/null; then
  say "installing gcc and libpcap-devel with yum"
  "${as_root[@]}" yum install -y -q gcc libpcap-devel
else
  say "unknown package manager: install a C compiler and libpcap's headers (libpcap-dev, libpcap-devel), then run this again"
  exit 2
fi
has_headers || { say "libpcap's headers are still missing after the installation; look at the package manager's messages above"; exit 1; }
