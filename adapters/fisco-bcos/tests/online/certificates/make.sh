#!/bin/sh
# Makes the certificates of the TLS tests as the chain's own build script does: RSA, no host names. `named` has one.
set -eu
cd "$(dirname "$0")"
days=36500
authority() {
    openssl req -x509 -newkey rsa:2048 -nodes -days $days -subj "/CN=$1" -keyout "$1.key" -out "$1.crt" \
        -addext "basicConstraints=critical,CA:TRUE"
}
signed() {
    openssl req -newkey rsa:2048 -nodes -subj "/CN=$1" -keyout "$1.key" -out "$1.csr"
    printf 'basicConstraints=CA:FALSE\n%s\n' "${3:-}" >"$1.ext"
    openssl x509 -req -in "$1.csr" -CA "$2.crt" -CAkey "$2.key" -days $days -set_serial "$4" -extfile "$1.ext" -out "$1.crt"
    rm "$1.csr" "$1.ext"
}
authority ca
authority stranger
signed node ca "" 2
signed named ca "subjectAltName=IP:127.0.0.1" 3
signed sdk ca "" 4
signed intruder stranger "" 5
rm ca.key stranger.key
