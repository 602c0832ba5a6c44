#!/bin/sh
# usage: tools/detect/compare.sh HERE THERE
#
# Compares all numbers of two files of detections but the masks' run lengths. CPUs add in different orders, so they
# are not the same to the last bit.
set -eu
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
for side in "$1" "$2"; do
    sed 's/"counts":"[^"]*"//g' "$side" | grep -oE -e '-?[0-9]+(\.[0-9]+)?(e-?[0-9]+)?' > "$out/$(basename "$side").txt"
done
paste "$out/$(basename "$1").txt" "$out/$(basename "$2").txt" | awk '
    { d = $1 - $2; if (d < 0) d = -d; if (d > most) most = d; missing += NF != 2 }
    END {
        printf "%d numbers of detections, at most %g apart from those of this machine\n", NR, most
        exit !(NR > 0 && missing == 0 && most < 0.01)
    }'
