#!/bin/sh
# Compares the probes with programs that know nothing of layerbench: a ten-line C program for the first write, fio for the warm read.
# Needs root, cc, fio and python3. Prints medians in nanoseconds, in turns: FOLDER is where the layers go (default: ./crosscheck).
set -eu
here=$(cd "$(dirname "$0")" && pwd)
bench=${LAYERBENCH:-$here/../../target/release/layerbench}
folder=${1:-crosscheck}
mkdir -p "$folder" && cd "$folder"
[ "${INSIDE:-}" ] || exec env INSIDE=1 LAYERBENCH="$(realpath "$bench")" unshare -m "$here/compare.sh" .
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
print("; ".join(f"{k} {statistics.median(v):.0f}" for k, v in sorted(found.items())))'

# Mounts a stack of one layer with overlay2 volatile at ./merged.
mount_one() {
    stack=$("$bench" stack build --depth 1 --files "$1" --file-size "$2" --store store)
    rm -rf upper work && mkdir -p upper work merged
    "$bench" mount --driver overlay2 --option volatile --lower "$(echo "$stack"/diff/*)" --upper upper --work work merged
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

for turn in 1 2 3; do
    for size in "4 KiB" "1 MiB"; do
        mount_one 200 "$size"
        # The directory is copied up first, as the probe does.
        touch merged/data/x && rm merged/data/x && sync -f merged
        printf 'first write %s: C %s; ' "$size" "$(./first_write merged/data 200 | python3 -c "$median")"
        "$bench" umount merged
        run=$(study "probe = \"copy_up\"
file_size = \"$size\"
files = 200
bytes_max = \"200 MiB\"")
        python3 -c "$ours" "$run" first_write_ns
    done
    mount_one 1 "16 MiB"
    printf 'warm read 4 KiB: fio %s; ' "$(fio --name=warm --filename=merged/data/f-000000 --readonly --rw=randread --bs=4k \
        --ioengine=psync --number_ios=20000 --size=16m --norandommap --invalidate=0 --output-format=json |
        python3 -c 'import json, sys; print(json.load(sys.stdin)["jobs"][0]["read"]["clat_ns"]["percentile"]["50.000000"])')"
    "$bench" umount merged
    run=$(study 'probe = "page_cache"
file_size = "16 MiB"
files = 1')
    python3 -c "$ours" "$run" warm_read_ns
done
"$bench" clean --store store > /dev/null
