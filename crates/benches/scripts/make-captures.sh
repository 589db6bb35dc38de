#!/usr/bin/env bash
# Makes the two large captures that compare.py measures on: real nginx, real wrk, real tcpdump, in namespaces of their own.
#
#   make-captures.sh DIR [MEGABYTES]     default: 1100 MB of keep-alive traffic, and a quarter of that with a connection a request
#
# Needs root, nginx, wrk, tcpdump, iproute2, ethtool. Sends nothing outside of its own namespaces and stops by itself.
set -euo pipefail
case "${1:-}" in -h | --help) sed -n '2,/^set/{/^#/s/^# \{0,1\}//p}' "$0"; exit ;; esac

dir=${1:?usage: make-captures.sh DIR [MEGABYTES]}
megabytes=${2:-1100}
for tool in nginx wrk tcpdump ip ethtool; do
  command -v "$tool" >/dev/null || { echo "make-captures.sh: $tool is missing; on Debian: apt-get install nginx-light wrk tcpdump iproute2 ethtool" >&2; exit 2; }
done
[ "$(id -u)" = 0 ] || { echo "make-captures.sh: network namespaces need root; run it with sudo" >&2; exit 2; }
mkdir -p "$dir"
work=$(mktemp -d)
client=sbench-client-$$ server=sbench-server-$$
cleanup() {
  [ -f "$work/nginx.pid" ] && kill "$(cat "$work/nginx.pid")" 2>/dev/null || true
  ip netns del "$client" 2>/dev/null || true
  ip netns del "$server" 2>/dev/null || true
  rm -rf "$work"
}
trap cleanup EXIT

ip netns add "$client"
ip netns add "$server"
ip link add c0 netns "$client" type veth peer name s0 netns "$server"
ip -n "$client" addr add 198.18.0.1/24 dev c0
ip -n "$server" addr add 198.18.0.2/24 dev s0
ip -n "$client" link set lo up; ip -n "$client" link set c0 up
ip -n "$server" link set lo up; ip -n "$server" link set s0 up
# Frames as they look on a wire, not the kernel's super-frames.
ip netns exec "$client" ethtool -K c0 tso off gso off gro off >/dev/null
ip netns exec "$server" ethtool -K s0 tso off gso off gro off >/dev/null
ip netns exec "$client" sysctl -qw net.ipv4.ip_local_port_range="1024 65000" net.ipv4.tcp_tw_reuse=1

item() { # one JSON object of about $1 bytes
  local out='{"id":"7d1c","type":"order","status":"shipped","currency":"EUR","lines":[' i=0
  while [ ${#out} -lt "$1" ]; do out+='{"sku":"A-'$((1000 + i))'","qty":'$((i % 7 + 1))',"price":"19.'$((10 + i % 89))'","note":"leave at the door"},'; i=$((i + 1)); done
  printf '%s{"sku":"end"}]}' "$out"
}
cat > "$work/nginx.conf" <<EOF
daemon on; pid $work/nginx.pid; error_log $work/error.log; worker_processes 1;
events { worker_connections 4096; }
http {
  access_log off; default_type application/json; keepalive_requests 1000000; server_tokens off;
  client_body_temp_path $work/body; proxy_temp_path $work/proxy; fastcgi_temp_path $work/f; uwsgi_temp_path $work/u; scgi_temp_path $work/s;
  add_header X-Request-Id \$request_id; add_header Cache-Control "no-store"; add_header X-Content-Type-Options nosniff;
  add_header Strict-Transport-Security "max-age=31536000; includeSubDomains"; add_header Vary "Accept-Encoding, Origin";
  server {
    listen 198.18.0.2:80 backlog=4096;
    location /v1/orders   { return 200 '$(item 900)'; }
    location /v1/items    { return 200 '$(item 2600)'; }
    location /v1/accounts { return 200 '$(item 300)'; }
    location /v1/missing  { return 404 '{"error":"no such thing"}'; }
  }
}
EOF
ip netns exec "$server" nginx -c "$work/nginx.conf"

cat > "$work/api.lua" <<'EOF'
-- Unique targets, and headers of the usual size for an API client.
local paths = { "/v1/orders/", "/v1/items/", "/v1/accounts/", "/v1/orders/", "/v1/accounts/", "/v1/missing/" }
local count = 0
local close = os.getenv("BENCH_CLOSE") == "1"
local burst = os.getenv("BENCH_BURST")
request = function()
  count = count + 1
  local headers = {
    ["Host"] = "api.shop.example", ["Accept"] = "application/json", ["Accept-Encoding"] = "gzip, deflate, br",
    ["Accept-Language"] = "en-GB,en;q=0.9,de;q=0.8",
    ["User-Agent"] = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36",
    ["Authorization"] = "Bearer eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJ1c2VyLTQyIn0.c2lnbmF0dXJlLW9mLXRoZS10b2tlbg",
    ["X-Correlation-Id"] = string.format("c-%08x", count), ["Cookie"] = "session=4f2a9d1c77b04e7f; theme=dark; consent=1",
  }
  if close then headers["Connection"] = "close" end
  return wrk.format("GET", paths[count % #paths + 1] .. burst .. "-" .. count .. "?page=" .. (count % 50) .. "&expand=lines", headers)
end
EOF

record() { # NAME BYTES CONNECTIONS CLOSE
  local file="$dir/$1.pcap" limit=$2
  ip netns exec "$server" tcpdump -i s0 -B 524288 -s 0 -w "$file" --immediate-mode tcp port 80 2> "$work/tcpdump.log" & local dumper=$!
  for _ in $(seq 50); do grep -q listening "$work/tcpdump.log" && break; sleep 0.1; done
  # Short bursts with pauses keep the capture lossless on a small machine.
  for burst in $(seq 2000); do
    BENCH_BURST=$burst BENCH_CLOSE=$4 ip netns exec "$client" wrk -t1 -c"$3" -d1s -s "$work/api.lua" "http://198.18.0.2/" >/dev/null
    sleep 0.3
    [ "$(stat -c %s "$file")" -ge "$limit" ] && break
  done
  sleep 1; kill -INT "$dumper"; wait "$dumper" || true
  grep -E 'packets' "$work/tcpdump.log" | sed "s/^/$1: /"
  grep -q '^0 packets dropped by kernel' "$work/tcpdump.log" || echo "$1: WARNING: the capture itself lost packets" >&2
  ls -l "$file"
}
record keepalive $((megabytes * 1000000)) 32 0
record per-request $((megabytes * 250000)) 16 1
