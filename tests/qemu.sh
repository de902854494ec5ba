#!/bin/sh
# QEMU as `make tools` unpacked it: with its own libraries, modules and firmware, none of which are installed.
root=$(dirname "$(readlink -f "$0")")/../target/tools/qemu
lib=$(echo "$root"/usr/lib/*-linux-gnu)
LD_LIBRARY_PATH=$lib:$lib/pulseaudio:$(echo "$root"/lib/*-linux-gnu)
export LD_LIBRARY_PATH QEMU_MODULE_DIR="$lib/qemu"
exec "$root/usr/bin/qemu-system-x86_64" -L "$root/usr/share/qemu" -L "$root/usr/share/seabios" -L "$root/usr/lib/ipxe/qemu" "$@"
