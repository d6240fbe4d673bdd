#!/bin/sh
# Tests of the web app at $HOST.
set -eu

# It was started a moment ago, and may not listen yet.
tries=0
until page=$(timeout 1 wget -q -O - "http://$HOST/"); do
  tries=$((tries + 1))
  [ "$tries" -lt 100 ] || { echo "no answer from $HOST" >&2; exit 1; }
  usleep 50000
done
case $page in
  "<h1>The "*" edition</h1>") echo "ok   /: $page" ;;
  *) echo "FAIL /: $page" >&2; exit 1 ;;
esac
