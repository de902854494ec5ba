#!/bin/sh
# Runs fsx (`cargo install fsx`), which reads, writes, maps, truncates, punches and copies at random and compares each result with what it remembers, a
# million operations long, on a file that starts in a lower layer of the FUSE union: with passthrough and without, and on the file system below.
# Needs root, loop devices, cargo, cc, and mkfs for each file system asked for: fsx.sh [FOLDER [FILE_SYSTEM...]]; FOLDER takes the tool, the
# images and the logs (default ./crosscheck), the file systems are ext4, xfs and btrfs unless said otherwise. OPERATIONS and SEED may be set,
# URING=on, which has the union asked by io_uring, and OPENS=off, which has it asked at no open.
# Prints a table; with a mismatch anywhere the exit status is 1, and the log tells of it.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
bench=${LAYERBENCH:-$here/../../target/release/layerbench}
folder=${1:-crosscheck}
[ $# -gt 0 ] && shift
[ $# -gt 0 ] || set -- ext4 xfs btrfs
[ "$(id -u)" = 0 ] || { echo "needs root: it mounts images"; exit 2; }
[ -x "$bench" ] || { echo "$bench is missing: make build, or set LAYERBENCH"; exit 2; }
mkdir -p "$folder"
# In a mount namespace of its own: nobody else sees what is mounted here.
[ "${INSIDE:-}" ] || exec env INSIDE=1 LAYERBENCH="$(realpath "$bench")" unshare -m "$here/fsx.sh" "$folder" "$@"
cd "$folder"

version=0.3.2
operations=${OPERATIONS:-1000000}
seed=${SEED:-1}
tool=${FSX:-$PWD/tools/bin/fsx}
[ -x "$tool" ] || cargo install fsx --version "=$version" --locked --root tools
cc -O2 -shared -fPIC -o fsx_unmap.so "$here/fsx_unmap.c" -ldl
unmap=$PWD/fsx_unmap.so
side=$(mktemp -d)
cleanup() {
    if mountpoint -q "$side/merged"; then "$bench" umount "$side/merged"; fi
    if mountpoint -q "$side"; then umount "$side"; fi
    rmdir "$side"
    rm -f image
}
trap cleanup EXIT
trap 'exit 130' INT TERM

worse=0
printf '%-8s %-22s %-16s %10s  %s\n' below where operations number result
one() { # FILE_SYSTEM WHERE LOG [PASSTHROUGH]: without the last word on the file system itself
    file=$side/base/file
    [ -z "${4:-}" ] || file=$side/merged/file
    for config in all kept-length; do
        # A file of 0xa5 bytes, as long as fsx lets its own become.
        head -c 262144 /dev/zero | tr '\0' '\245' > "$side/base/file"
        rm -rf "$side/upper" && mkdir -p "$side/upper" "$side/merged"
        if [ "$file" = "$side/merged/file" ]; then
            "$bench" mount --driver fuse-union --option "passthrough=$4" --option "uring=${URING:-off}" ${OPENS:+--option "opens=$OPENS"} --lower "$side/top:$side/base" \
                --upper "$side/upper" --work "$side/work" "$side/merged"
        fi
        result=passed
        LD_PRELOAD=$unmap "$tool" -N "$operations" -S "$seed" -f "$here/../../tests/data/fsx-$config.toml" -P . "$file" \
            > "$3-$config.log" 2>&1 || result=FAILED
        if [ "$file" = "$side/merged/file" ]; then
            cmp -s "$file" "$side/upper/file" || result="FAILED: the mount shows something else than lies in the upper"
            [ "$(tr -d '\245' < "$side/base/file" | wc -c)" = 0 ] || result="FAILED: the lower file was changed"
            "$bench" umount "$side/merged"
        fi
        case $result in FAILED*) worse=1 ;; esac
        printf '%-8s %-22s %-16s %10d  %s\n' "$1" "$2" "$config" "$operations" "$result"
    done
}
for kind in "$@"; do
    command -v "mkfs.$kind" > /dev/null || { echo "$kind: skipped, mkfs.$kind is missing"; continue; }
    rm -f image && truncate -s 1G image
    "mkfs.$kind" -q image > /dev/null
    mount -o loop image "$side"
    mkdir -p "$side/top" "$side/base"
    one "$kind" bare "$kind-bare"
    for passthrough in on off; do
        one "$kind" "union, passthrough $passthrough" "$kind-$passthrough" "$passthrough"
    done
    umount "$side"
    rm image
done
exit $worse
