#!/bin/sh
# Runs every test once more as an ordinary user: what needs root must say why it was skipped, and the rest must pass in a user namespace.
# Called by `make test` when root runs it. The tests are run, not built: the build belongs to root. Words are the tests to run; none is all.
set -eu
cd "$(dirname "$0")/.."
uid=65534
run_as="setpriv --reuid=$uid --regid=$uid --clear-groups"
if ! $run_as test -x "$PWD/tests/as-user.sh"; then
    echo "skipped: uid $uid cannot reach $PWD; make test as an ordinary user there is the same test"
    exit 0
fi
# udev makes /dev/fuse for all users. Where nobody did, the tests see one that is, in a mount namespace of their own.
if [ -c /dev/fuse ] && ! $run_as test -w /dev/fuse && [ -z "${OWN_FUSE:-}" ]; then
    export OWN_FUSE=$(mktemp -d)
    trap 'rm -rf "$OWN_FUSE"' EXIT
    mknod -m 666 "$OWN_FUSE/fuse" c 10 229
    unshare --mount --propagation private sh -euc 'mount --bind "$OWN_FUSE/fuse" /dev/fuse && exec tests/as-user.sh "$@"' sh "$@"
    exit
fi
tests=
for name in "$@"; do tests="$tests --test $name"; done
binaries=$(${CARGO:-cargo} test --locked --no-run $tests --message-format=json 2>/dev/null |
    grep '"test":true' | grep -o '"executable":"[^"]*"' | cut -d'"' -f4 | grep /deps/)
[ -n "$binaries" ] || { echo "no test binary was found"; exit 1; }
# The folder that cargo gives to tests belongs to root: lend it.
tmp=target/tmp
mkdir -p $tmp
mode=$(stat -c %a $tmp)
chmod 1777 $tmp
trap 'chmod $mode $tmp' EXIT
home=$(mktemp -d "$PWD/$tmp/home.XXXXXX")
chown $uid:$uid "$home"
trap 'chmod $mode $tmp; rm -rf "$home"' EXIT
for binary in $binaries; do
    echo "as uid $uid: ${binary##*/}"
    HOME=$home TMPDIR=$home CARGO_MANIFEST_DIR=$PWD $run_as "$binary"
done
