#!/bin/sh
# Runs pjdfstest, a POSIX test suite that nobody here wrote, on the FUSE union and on the file system below it, side by side.
# Needs root, loop devices, cargo, and mkfs for each file system asked for: pjdfstest.sh [FOLDER [FILE_SYSTEM...]]; FOLDER takes the
# tool, the images and the logs (default ./crosscheck), the file systems are ext4, xfs and btrfs unless said otherwise. URING=on has the
# union asked by io_uring, OPENS=off asked at no open.
# The union has two lowers and runs the suite in a directory that starts in the lower one. Prints a table, then what fails on the union
# and not on the file system below: with anything there the exit status is 1.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
bench=${LAYERBENCH:-$here/../../target/release/layerbench}
folder=${1:-crosscheck}
[ $# -gt 0 ] && shift
[ $# -gt 0 ] || set -- ext4 xfs btrfs
[ "$(id -u)" = 0 ] || { echo "needs root: the suite makes files of several users"; exit 2; }
[ -x "$bench" ] || { echo "$bench is missing: make build, or set LAYERBENCH"; exit 2; }
mkdir -p "$folder"
# In a mount namespace of its own: nobody else sees what is mounted here.
[ "${INSIDE:-}" ] || exec env INSIDE=1 LAYERBENCH="$(realpath "$bench")" unshare -m "$here/pjdfstest.sh" "$folder" "$@"
cd "$folder"

version=0.2.2
tool=${PJDFSTEST:-$PWD/tools/bin/pjdfstest}
[ -x "$tool" ] || cargo install pjdfstest --version "=$version" --locked --root tools

# Two users whose groups have the same numbers as theirs; what Linux file systems can do beyond POSIX.
other=${PJDFSTEST_USER:-daemon}
cat > pjdfstest.toml <<END
[features]
posix_fallocate = {}
rename_ctime = {}
utime_now = {}
utimensat = {}
[settings]
naptime = 0.01
[dummy_auth]
entries = [["nobody", "$(id -gn nobody)"], ["$other", "$(id -gn "$other")"]]
END
mkdir -p elsewhere
# A short path: the suite binds sockets, whose paths end at 107 bytes.
side=$(mktemp -d /tmp/XXXXXX)
cleanup() {
    for at in "$side/on" "$side/off"; do
        if mountpoint -q "$at/merged"; then "$bench" umount "$at/merged"; fi
    done
    if mountpoint -q "$side"; then umount "$side"; fi
    rmdir "$side"
    rm -f image
}
trap cleanup EXIT
trap 'exit 130' INT TERM

# Runs the suite in a directory; LOG takes what it prints: suite DIRECTORY LOG.
suite() {
    # A failed test is a result, not the end of this script; a suite that did not finish shows no summary.
    "$tool" -c pjdfstest.toml -p "$1" -s elsewhere > "$2.log" 2>&1 || true
    sed 's/\x1b\[[0-9;]*m//g' "$2.log" > "$2.plain"
    grep -q '^Summary' "$2.plain" || { echo "pjdfstest did not finish in $1:"; tail -5 "$2.plain"; exit 2; }
    for word in ok FAILED skipped; do
        sed -n "s/^\([a-z0-9_:]*\) *$word\$/\1/p" "$2.plain" | sort > "$2.$word"
    done
}
row() { # FILE_SYSTEM WHERE LOG
    printf '%-8s %-22s %8d %8d %8d\n' "$1" "$2" "$(wc -l < "$3.ok")" "$(wc -l < "$3.FAILED")" "$(wc -l < "$3.skipped")"
}

: > worse
: > unlike
printf '%-8s %-22s %8s %8s %8s\n' below where passed failed skipped
for kind in "$@"; do
    command -v "mkfs.$kind" > /dev/null || { echo "$kind: skipped, mkfs.$kind is missing"; continue; }
    rm -f image && truncate -s 1G image
    "mkfs.$kind" -q image > /dev/null
    mount -o loop image "$side"
    mkdir "$side/bare"
    suite "$side/bare" "$kind-bare"
    row "$kind" bare "$kind-bare"
    for passthrough in on off; do
        at=$side/$passthrough
        mkdir -p "$at/top" "$at/base/here" "$at/upper" "$at/work" "$at/merged"
        "$bench" mount --driver fuse-union --option "passthrough=$passthrough" --option "uring=${URING:-off}" ${OPENS:+--option "opens=$OPENS"} --lower "$at/top:$at/base" \
            --upper "$at/upper" --work "$at/work" "$at/merged"
        suite "$at/merged/here" "$kind-$passthrough"
        "$bench" umount "$at/merged"
        row "$kind" "union, passthrough $passthrough" "$kind-$passthrough"
        comm -13 "$kind-bare.FAILED" "$kind-$passthrough.FAILED" | sed "s/^/$kind, passthrough $passthrough: /" >> worse
        comm -13 "$kind-bare.skipped" "$kind-$passthrough.skipped" | sed "s/^/$kind, passthrough $passthrough: /" >> unlike
    done
    umount "$side"
    rm image
done
if [ -s unlike ]; then
    # link_count_max: the C library knows the greatest number of links of ext4, XFS and btrfs, and of nothing that is mounted over them.
    echo "skipped on the union alone:"
    cat unlike
fi
if [ -s worse ]; then
    echo "failed on the union alone:"
    cat worse
    exit 1
fi
