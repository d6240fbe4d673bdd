# Counts the words of chapter $1, but not before all three counters are here:
# if the steps ran one after the other, the first would wait in vain.
set -eu
touch "here-$1"
tries=0
until [ -e here-1 ] && [ -e here-2 ] && [ -e here-3 ]; do
  tries=$((tries + 1))
  [ "$tries" -lt 600 ] || { echo "chapter $1: the others did not come" >&2; exit 1; }
  usleep 50000
done
wc -w < "chapter-$1.txt" > "words-$1"
echo "$(cat "words-$1") words"
