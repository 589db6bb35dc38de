# For the scripts that need a platform: sourced, with `set -euo pipefail`.

# find_program CAPTURE PROFILE: `sensor` is the program to measure; ends with 2 where it or the capture is not there.
find_program() {
  local name root
  name=$(basename "$0")
  root=$(cd "$(dirname "$0")/../../.." && pwd)
  sensor=${SENSOR:-${CARGO_TARGET_DIR:-$root/target}/$2/sensor}
  [ -x "$sensor" ] || { echo "$name: $sensor is not there; cargo build --profile $2 -p sensor" >&2; exit 2; }
  [ -s "$1" ] || { echo "$name: $1 is not there or empty" >&2; exit 2; }
}

# make_certificates FOLDER: an authority, and a certificate and key each for `server` (127.0.0.1, localhost) and `client`.
make_certificates() {
  local at=$1 role
  local new_key=(-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes)
  quietly() { "$@" >"$at/openssl.log" 2>&1 || { cat "$at/openssl.log" >&2; exit 1; }; }
  quietly openssl req -x509 "${new_key[@]}" -keyout "$at/ca.key" -out "$at/ca.pem" -days 2 -subj "/CN=benches" \
    -addext basicConstraints=critical,CA:TRUE
  for role in server client; do
    quietly openssl req "${new_key[@]}" -keyout "$at/$role.key" -out "$at/$role.csr" -subj "/CN=$role"
    printf 'subjectAltName=IP:127.0.0.1,DNS:localhost\nextendedKeyUsage=%sAuth\nbasicConstraints=CA:FALSE\n' "$role" \
      >"$at/$role.ext"
    quietly openssl x509 -req -in "$at/$role.csr" -CA "$at/ca.pem" -CAkey "$at/ca.key" -CAcreateserial -days 2 \
      -extfile "$at/$role.ext" -out "$at/$role.pem"
  done
}
