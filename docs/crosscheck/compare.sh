#!/bin/sh
# Compares the probes with programs that know nothing of layerbench: a ten-line C program for the first write, fio for the warm read.
# Needs root, loop devices, cc, fio, python3 and mkfs.ext4: compare.sh [FOLDER [TURNS]]; FOLDER takes the images (default ./crosscheck).
# For a first write each side gets a new ext4 file system in every turn, so that neither pays for what the other deleted or has yet to
# write back; who goes first alternates. A turn prints two medians in nanoseconds; the last lines give the median over the turns of
# their ratio. Nothing reads what a program prints while it runs: on two cores that would be a neighbour. A machine's speed drifts
# from turn to turn, so that only figures of one turn can be compared.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
bench=${LAYERBENCH:-$here/../../target/release/layerbench}
folder=${1:-crosscheck}
turns=${2:-9}
mkdir -p "$folder" && cd "$folder"
[ "${INSIDE:-}" ] || exec env INSIDE=1 LAYERBENCH="$(realpath "$bench")" unshare -m "$here/compare.sh" . "$turns"
cc -O2 -o first_write "$here/first_write.c"

median='import sys; v = sorted(int(l) for l in sys.stdin); print(v[len(v) // 2])'
# Median of a metric in a run.
ours='
import json, statistics, sys
samples = []
for line in open(sys.argv[1] + "/cases.jsonl"):
    for o in json.loads(line).get("observations", []):
        if o["metric"]["name"] == sys.argv[2]:
            samples.extend(o["samples"])
print(f"{statistics.median(samples):.0f}")'

# A new file system at ./side.
fresh() {
    rm -f image && truncate -s 3G image
    mkfs.ext4 -q -E lazy_itable_init=0,lazy_journal_init=0,nodiscard image
    mkdir -p side && mount -o loop image side
}
gone() {
    umount side && rm image && sync -f .
}

# Mounts a stack of one layer with overlay2 volatile at side/merged.
mount_one() {
    stack=$("$bench" stack build --depth 1 --files "$1" --file-size "$2" --store side/store)
    mkdir side/upper side/work side/merged
    "$bench" mount --driver overlay2 --option volatile --lower "$(echo "$stack"/diff/*)" --upper side/upper --work side/work side/merged
    cat "$stack"/diff/*/data/f-* > /dev/null
    sync -f side
}

study() {
    cat > study.toml <<END
title = "crosscheck"
why = "crosscheck"
[[driver]]
use = "overlay2"
options = ["volatile"]
[[measure]]
why = "crosscheck"
depth = 1
$1
END
    "$bench" run study.toml --store side/store --out runs 2> /dev/null | tail -1
}

c_first_write() { # SIZE
    fresh
    mount_one 200 "$1"
    # The directory is copied up first, as the probe does.
    touch side/merged/data/x && rm side/merged/data/x
    ./first_write side/merged/data 200 > samples
    python3 -c "$median" < samples
    "$bench" umount side/merged
    gone
}
our_first_write() { # SIZE
    fresh
    python3 -c "$ours" "$(study "probe = \"copy_up\"
file_size = \"$1\"
files = 200
blocks = 1
bytes_max = \"200 MiB\"")" first_write_ns
    gone
}
fio_warm_read() {
    fio --name=warm --filename=side/merged/data/f-000000 --readonly --rw=randread --bs=4k --ioengine=psync \
        --io_size=1g --size=16m --norandommap --invalidate=0 --output-format=json --output=samples
    python3 -c 'import json, sys; print(json.load(sys.stdin)["jobs"][0]["read"]["clat_ns"]["percentile"]["50.000000"])' < samples
}
our_warm_read() {
    python3 -c "$ours" "$(study 'probe = "page_cache"
file_size = "16 MiB"
files = 1
blocks = 1')" warm_read_ns
}

# Both sides of a point, one after the other, who goes first alternating: LABEL THEIRS OURS [SIZE].
both() {
    if [ $((turn % 2)) -eq 0 ]; then order="$2 $3"; else order="$3 $2"; fi
    for side in $order; do
        "$side" "${4:-}" > "$side.median"
    done
    echo "$1, theirs:layerbench $(cat "$2.median") $(cat "$3.median")" | tee -a figures
}

: > figures
turn=0
while [ $turn -lt "$turns" ]; do
    turn=$((turn + 1))
    both "first write 4 KiB" c_first_write our_first_write "4 KiB"
    both "first write 1 MiB" c_first_write our_first_write "1 MiB"
done
# Reading deletes nothing: one file system serves both, and the turns follow each other before the machine changes its mind.
fresh
mount_one 1 "16 MiB"
turn=0
while [ $turn -lt $((3 * turns)) ]; do
    turn=$((turn + 1))
    both "warm read 4 KiB" fio_warm_read our_warm_read
done
"$bench" umount side/merged
gone
python3 - << 'END'
import statistics
ratios = {}
for line in open("figures"):
    label, theirs, ours = line.rsplit(" ", 2)
    ratios.setdefault(label, []).append(int(ours) / int(theirs))
for label, values in ratios.items():
    print(f"{label}: median ratio {statistics.median(values):.2f} over {len(values)} turns, {min(values):.2f} to {max(values):.2f}")
END
