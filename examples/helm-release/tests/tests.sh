#!/bin/sh
# Tests of the web app at $HOST.
set -eu

# It was started a moment ago, and may not listen yet.
tries=0
until timeout 1 wget -q -O /dev/null "http://$HOST/"; do
  tries=$((tries + 1))
  [ "$tries" -lt 100 ] || { echo "no answer from $HOST" >&2; exit 1; }
  usleep 50000
done

expect() { # PATH TEXT
  got=$(wget -q -O - "http://$HOST$1")
  [ "$got" = "$2" ] || { echo "FAIL $1: got \"$got\", want \"$2\"" >&2; exit 1; }
  echo "ok   $1: $got"
}

expect / "<h1>Hello</h1>"
expect /cgi-bin/greet "Hello, ${NAME:-world}!"
expect /cgi-bin/greet?reader "Hello, reader!"
