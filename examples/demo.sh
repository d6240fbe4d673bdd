#!/bin/bash
# The demo: compiles acrd, starts a daemon of its own, builds and pushes an
# image, runs a task to its end, and stops the daemon. Everything that it
# leaves behind is in build/. "make demo" calls it.
set -eu -o pipefail
cd "$(dirname "$0")/.."

state=$PWD/build/demo/state
log=$PWD/build/demo/daemon.log
daemon="" # its process
registry=""
sudo=""
[ "$(id -u)" = 0 ] || sudo=sudo
unset ACRD_SERVER ACRD_STATE ACRD_LISTEN ACRD_TOKEN
mkdir -p build/demo build/tools

say() { printf '\n%s\n' "$*"; }
show() { printf '  %s\n' "$*"; }

# leave stops the daemon, whatever has happened, and says so if it was bad.
leave() {
  code=$?
  trap - EXIT
  trap '' INT TERM
  if [ -n "$daemon" ]; then
    $sudo kill "$daemon" 2>/dev/null || true
    wait "$daemon" 2>/dev/null || true
  fi
  if [ "$code" = 130 ] || [ "$code" = 143 ]; then
    say "Stopped."
  elif [ "$code" != 0 ]; then
    say "The demo has failed. The daemon's last words ($log):"
    tail -n 20 "$log" 2>/dev/null | sed 's/^/  /' || true
  fi
  exit "$code"
}
trap leave EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# compile runs go build and counts what it has done: the first time, Go is busy
# for minutes.
compile() {
  local cr=$'\n'
  [ ! -t 1 ] || cr=$'\r'
  "$@" 2>&1 | awk -v cr="$cr" '
    function tell() { printf "  %d modules downloaded, %d packages compiled%s", modules, packages, cr; fflush() }
    BEGIN { every = cr == "\r" ? 10 : 100 }
    /^go: downloading / { if (++modules % every == 0) tell(); next }
    /^[A-Za-z0-9.\/_~-]+$/ { if (++packages % every == 0) tell(); next }
    /^go build / { next }
    { print "  " $0 }
    END { cr = "\n"; if (modules + packages >= every) tell() }'
}

# gist shows what matters in the log of a run: what was built and what of it
# was there already, what the tests say, and what was pushed.
gist() {
  awk '
    { step = ""; line = $0 }
    match(line, /^[a-z-]+ \| /) { step = substr(line, 1, RLENGTH - 3) ": "; line = substr(line, RLENGTH + 1) }
    line ~ /^#[0-9]+ \[.*(RUN|COPY)/ { n = line; sub(/ .*/, "", n); sub(/^[^\]]*\] /, "", line); what[step n] = line; next }
    line ~ /^#[0-9]+ (CACHED|DONE)/ {
      split(line, word, " ")
      if (what[step word[1]] != "") { print "  " step what[step word[1]] "  " word[2]; delete what[step word[1]]; fflush() }
      next
    }
    step ~ /^test/ && line !~ /^($|#)/ { print "  " step line; fflush() }
    line ~ /(failed to run step ID|Run ID: .* (was successful|failed))/ { sub(/^[0-9\/]+ [0-9:]+ /, "", line); print "  " line; fflush() }
    /^- image:/ { image = 1; next }
    /^  [a-z]/ { image = 0 }
    image && /registry:/ { registry = $2 }
    image && /repository:/ { repository = $2 }
    image && /tag:/ { tag = $2 }
    image && /digest:/ && registry ~ /^localhost/ { print "  pushed " registry "/" repository ":" tag "@" $2; fflush() }'
}

# acrd shows a command as it would be typed, does it, and tells the gist.
acrd() {
  say "\$ acrd $*"
  # Ctrl-C is for acrd; what reads its output stays to the end.
  $sudo bin/acrd "$1" --state "$state" "${@:2}" 2>&1 | (
    trap '' INT
    tee build/demo/run.log | gist
  ) || {
    local code=$?
    if [ "$code" != 130 ]; then
      show "The end of its log (all of it is in build/demo/run.log):"
      tail -n 12 build/demo/run.log | sed 's/^/  /'
    fi
    return "$code"
  }
}

say "Compiling acrd. The first time this takes a few minutes, later a second."
export CGO_ENABLED=0 GOFLAGS="${GOFLAGS:--trimpath -buildvcs=false} -v"
compile make --no-print-directory build GOFLAGS="$GOFLAGS"
compile go build -o build/tools/base ./examples/base

say "Starting a daemon for the demo, on a free port, with its files in build/demo."
# In a session of its own, so that Ctrl-C reaches it when its runs have ended.
$sudo setsid bin/acrd serve --state "$state" --listen 127.0.0.1:0 >"$log" 2>&1 &
daemon=$!
until registry=$(sed -n 's/.* serves on \([^ ]*\) .*/\1/p' "$log") && [ -n "$registry" ]; do
  [ -d "/proc/$daemon" ] || { wait "$daemon"; exit 1; }
  sleep 0.1
done
show "it serves on $registry"

say "Pushing base images, made of the busybox of this machine."
build/tools/base -registry "$registry" | sed 's/^/  /'

acrd build -t hello:v1 --progress plain --build-arg REGISTRY="$registry" examples/hello
acrd run examples/multi-step

say "That was it: an image built and pushed; then a web app built, run, tested and
pushed. The daemon of the demo stops now. To go on with one of your own:

  sudo bin/acrd serve                      in one terminal
  sudo -s                                  in another, here
  export PATH=\$PWD/bin:\$PATH
  go run ./examples/base
  acrd build -t hello:v1 examples/hello

examples/README.md has more to try."
