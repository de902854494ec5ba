#!/bin/sh
# Compares the probes with programs that know nothing of layerbench: a ten-line C program for the first write, fio for the warm read.
# Needs root, cc, fio and python3: compare.sh [FOLDER [TURNS]]; FOLDER is where the layers go (default ./crosscheck).
# Each turn prints two medians in nanoseconds; the last lines give the median over the turns of their ratio. A machine's speed drifts
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
# Median of a metric in the newest run, by driver.
ours='
import json, statistics, sys
found = {}
for line in open(sys.argv[1] + "/cases.jsonl"):
    case = json.loads(line)
    for o in case.get("observations", []):
        if o["metric"]["name"] == sys.argv[2]:
            found.setdefault(case["driver"]["label"], []).extend(o["samples"])
print(*(f"{statistics.median(v):.0f}" for v in found.values()))'

# Mounts a stack of one layer with overlay2 volatile at ./merged.
mount_one() {
    stack=$("$bench" stack build --depth 1 --files "$1" --file-size "$2" --store store)
    number=$((${number:-0} + 1))
    mkdir -p "upper$number" "work$number" merged
    "$bench" mount --driver overlay2 --option volatile --lower "$(echo "$stack"/diff/*)" --upper "upper$number" --work "work$number" merged
    cat "$stack"/diff/*/data/f-* > /dev/null
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
rounds = 3
$1
END
    "$bench" run study.toml --store store 2> /dev/null | tail -1
}

turn=0
: > figures
while [ $turn -lt "$turns" ]; do
    turn=$((turn + 1))
    for size in "4 KiB" "1 MiB"; do
        mount_one 200 "$size"
        # The directory is copied up first, as the probe does.
        touch merged/data/x && rm merged/data/x && sync -f merged
        theirs=$(./first_write merged/data 200 | python3 -c "$median")
        "$bench" umount merged
        run=$(study "probe = \"copy_up\"
file_size = \"$size\"
files = 200
bytes_max = \"200 MiB\"")
        echo "first write $size, C program:layerbench $theirs $(python3 -c "$ours" "$run" first_write_ns)" | tee -a figures
    done
    mount_one 1 "16 MiB"
    theirs=$(fio --name=warm --filename=merged/data/f-000000 --readonly --rw=randread --bs=4k --ioengine=psync \
        --number_ios=20000 --size=16m --norandommap --invalidate=0 --output-format=json |
        python3 -c 'import json, sys; print(json.load(sys.stdin)["jobs"][0]["read"]["clat_ns"]["percentile"]["50.000000"])')
    "$bench" umount merged
    run=$(study 'probe = "page_cache"
file_size = "16 MiB"
files = 1')
    echo "warm read 4 KiB, fio:layerbench $theirs $(python3 -c "$ours" "$run" warm_read_ns)" | tee -a figures
done
"$bench" clean --store store > /dev/null
python3 - << 'END'
import statistics
ratios = {}
for line in open("figures"):
    label, theirs, ours = line.rsplit(" ", 2)
    ratios.setdefault(label, []).append(int(ours) / int(theirs))
for label, values in ratios.items():
    print(f"{label}: median ratio {statistics.median(values):.2f} over {len(values)} turns, {min(values):.2f} to {max(values):.2f}")
END
