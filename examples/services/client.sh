# A client of the store: client.sh set KEY VALUE, get KEY, or await KEY.
set -eu
store=http://store/cgi-bin/kv

get() { wget -q -O - "$store?$1"; }

# The store was started a moment ago, and may not listen yet.
tries=0
until timeout 1 wget -q -O /dev/null http://store/; do
  tries=$((tries + 1))
  [ "$tries" -lt 100 ] || { echo "the store does not answer" >&2; exit 1; }
  usleep 50000
done

case $1 in
set)
  wget -q -O - --post-data "$3" "$store?$2"
  ;;
get)
  get "$2"
  ;;
await) # the step's timeout ends this
  until value=$(get "$2" 2>/dev/null); do
    usleep 100000
  done
  echo "the $2: $value"
  ;;
esac
