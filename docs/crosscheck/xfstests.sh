#!/bin/sh
# Runs the generic tests of xfstests, which nobody here wrote, on ext4 and on the FUSE union with ext4 below.
# Needs root, loop devices, and a built tree of xfstests (git.kernel.org, fs/xfs/xfstests-dev; it says itself what it needs):
# XFSTESTS=TREE xfstests.sh [FOLDER [ARGUMENT_OF_CHECK...]]; FOLDER takes the images and the logs (default ./crosscheck), the arguments
# are "-g generic/quick -x dangerous,swap" unless said otherwise. OPENS=off has the union asked at no open. Takes a quarter of an hour.
# Prints a table, then what fails on the union and not on ext4: with anything there the exit status is 1.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
program=${FUSE_UNION:-$here/../../target/release/fuse-union}
folder=${1:-crosscheck}
[ $# -gt 0 ] && shift
[ $# -gt 0 ] || set -- -g generic/quick -x dangerous,swap
[ "$(id -u)" = 0 ] || { echo "needs root"; exit 2; }
[ -x "$program" ] || { echo "$program is missing: make build, or set FUSE_UNION"; exit 2; }
[ -x "${XFSTESTS:-}/check" ] || { echo "XFSTESTS has to name a built tree of xfstests"; exit 2; }
mkdir -p "$folder"
# In a mount namespace of its own: nobody else sees what is mounted here, and nothing of it stays.
[ "${INSIDE:-}" ] || exec env INSIDE=1 FUSE_UNION="$(realpath "$program")" XFSTESTS="$(realpath "$XFSTESTS")" \
    unshare -m "$here/xfstests.sh" "$folder" "$@"
cd "$folder"
folder=$PWD

devices=
cleanup() {
    for at in test scratch store; do
        while mountpoint -q "$folder/$at" && umount "$folder/$at"; do :; done
    done
    for device in $devices; do losetup -d "$device"; done
    rm -f "$folder"/*.image
}
trap cleanup EXIT
trap 'exit 130' INT TERM

# What the tests look for: the helper of mount(8), users of theirs, and a file system of type fuse.
mkdir -p helper test scratch store
printf '#!/bin/sh\nexec %s "$@"\n' "$program" > helper/mount.fuse.fuse-union
chmod +x helper/mount.fuse.fuse-union
mount -t overlay helper -o "lowerdir=$folder/helper:/usr/sbin" /usr/sbin
for name in passwd group; do
    cp "/etc/$name" "$name"
    id=70000
    for user in fsgqa 123456-fsgqa fsgqa2; do
        id=$((id + 1))
        if ! grep -q "^$user:" "$name"; then
            [ "$name" = group ] && echo "$user:x:$id:" >> group || echo "$user:x:$id:$id::/tmp:/bin/sh" >> passwd
        fi
    done
    mount --bind "$name" "/etc/$name"
done
sed "s/-e 's.nfs4.nfs.'/& -e 's,fuse.fuse-union,fuse,'/" "$XFSTESTS/common/rc" > rc
mount --bind rc "$XFSTESTS/common/rc"

device() { # NAME: an image on a loop device
    rm -f "$1.image" && truncate -s 12G "$1.image"
    device=$(losetup -f --show "$1.image")
    devices="$devices $device"
}
suite() { # NAME ARGUMENT...: runs the tests with NAME.config
    name=$1
    shift
    # A failed test is a result, not the end of this script.
    (cd "$XFSTESTS" && HOST_OPTIONS="$folder/$name.config" RESULT_BASE="$folder/$name" ./check "$@") > "$name.log" 2>&1 || true
    grep -q '^Ran:' "$name.log" || { echo "xfstests did not finish on $name:"; tail -5 "$name.log"; exit 2; }
    for word in Ran "Not run" Failures; do
        sed -n "s/^$word: //p" "$name.log" | tr ' ' '\n' | grep . | sort -u > "$name.$word" || true
    done
    ran=$(comm -23 "$name.Ran" "$name.Not run" | wc -l)
    failed=$(wc -l < "$name.Failures")
    printf '%-8s %8d %8d %8d\n' "$name" $((ran - failed)) "$failed" "$(wc -l < "$name.Not run")"
}

printf '%-8s %8s %8s %8s\n' where passed failed "not run"
device test && first=$device
device scratch && second=$device
mkfs.ext4 -q "$first"
cat > ext4.config <<END
export FSTYP=ext4 TEST_DEV=$first TEST_DIR=$folder/test SCRATCH_DEV=$second SCRATCH_MNT=$folder/scratch
END
suite ext4 "$@"

device store
mkfs.ext4 -q "$device"
mount "$device" store
for at in test scratch; do mkdir -p "store/$at/lower" "store/$at/upper"; done
cat > union.config <<END
export FSTYP=fuse FUSE_SUBTYP=.fuse-union TEST_DEV=union1 TEST_DIR=$folder/test SCRATCH_DEV=union2 SCRATCH_MNT=$folder/scratch
export TEST_FS_MOUNT_OPTS="-olowerdir=$folder/store/test/lower,upperdir=$folder/store/test/upper${OPENS:+,opens=$OPENS}"
export MOUNT_OPTIONS="-olowerdir=$folder/store/scratch/lower,upperdir=$folder/store/scratch/upper${OPENS:+,opens=$OPENS}"
END
suite union "$@"

comm -13 ext4.Failures union.Failures > worse
if [ -s worse ]; then
    echo "failed on the union alone:"
    cat worse
    exit 1
fi
