#!/bin/sh
# What memory that a hypervisor took away costs: first writes to files of 1 MiB through the kernel's own overlay (volatile), in one new mount after
# another, with nothing of layerbench in it. Where free memory stays with the machine, every mount's median is about the same. To be run as root on a
# machine with much free memory; needs cc, e2fsprogs, and 5 GiB in the current folder.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d "$PWD/memory.XXXXXX")
trap 'cd / && umount -q "$work/disk/merged" "$work/disk" 2>/dev/null || true; rm -rf "$work"' EXIT
cc -O2 -o "$work/first_write" "$here/first_write.c"
truncate -s 16G "$work/image"
mkfs.ext4 -q -F "$work/image"
mkdir "$work/disk"
mount -o loop "$work/image" "$work/disk"
cd "$work/disk"
mkdir lower merged
for file in $(seq 0 31); do head -c 1048576 /dev/urandom > "lower/$(printf f-%06d "$file")"; done
sync
cat lower/* > /dev/null
echo "medians of 32 first writes of 1 MiB in 100 mounts, in microseconds:"
for mount in $(seq 100); do
    mkdir "upper$mount" "work$mount"
    mount -t overlay -o "lowerdir=lower,upperdir=upper$mount,workdir=work$mount,volatile" overlay merged
    "$work/first_write" merged 32 | sort -n | awk '{ ns[NR] = $1 } END { printf "%.0f ", ns[int((NR + 1) / 2)] / 1000 }'
    umount merged
done
echo
