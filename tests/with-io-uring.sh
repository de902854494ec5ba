#!/bin/sh
# Runs the tests of mounts once more with requests that come by io_uring, which the kernel offers when told to: the switch is as before in
# the end. Called by `make test` when root runs it. The tests are run, not built.
set -eu
cd "$(dirname "$0")/.."
switch=/sys/module/fuse/parameters/enable_uring
if [ ! -w $switch ]; then
    echo "skipped: this kernel has no $switch (Linux 6.14 with CONFIG_FUSE_IO_URING)"
    exit 0
fi
if [ "$(cat /proc/sys/kernel/io_uring_disabled 2>/dev/null || echo 0)" = 2 ]; then
    echo "skipped: io_uring is switched off (kernel.io_uring_disabled)"
    exit 0
fi
before=$(cat $switch)
trap 'echo $before > $switch' EXIT
trap 'exit 130' HUP INT TERM
echo Y > $switch
${CARGO:-cargo} test --locked --test union --test helper --test conformance --test fsx
[ "$(id -u)" != 0 ] || tests/as-user.sh union helper
