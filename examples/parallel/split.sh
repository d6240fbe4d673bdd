# Cuts book.txt at its chapter headings, into chapter-1.txt and so on.
set -eu
awk '/^Chapter / { n++ } n { print > ("chapter-" n ".txt") }' book.txt
ls chapter-*.txt
