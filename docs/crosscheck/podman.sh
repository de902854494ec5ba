#!/bin/sh
# Builds an image of five layers with buildah, which keeps images as Podman does: with fuse-union as mount_program, with fuse-overlayfs if there
# is one, and with the kernel's overlay. Then compares the trees, every name with its type, mode, owner, size, links and target, those of what the
# kernel's overlay has built when the others mount it too, and shows what Podman says of a container that was changed, and what is committed of it.
# Needs buildah, podman, and the root of a distribution (mmdebstrap --variant=minbase bookworm root.tar); root, or an ordinary user's namespace, to
# which no archive gives device nodes:
#
#   docs/crosscheck/podman.sh FOLDER root.tar
#   buildah unshare docs/crosscheck/podman.sh FOLDER root-without-dev.tar
#
# One difference is neither program's: with a mount_program Podman finds out what a layer changed by comparing trees, and does not see that a file
# got a second name.
set -eu
[ $# -eq 2 ] || { sed -n '2,/^set/{/^#/s/^# \{0,1\}//p}' "$0" >&2; exit 2; }
here=$(cd "$(dirname "$0")" && pwd)
fuse_union=${FUSE_UNION:-$here/../../target/release/fuse-union}
[ -x "$fuse_union" ] || { echo "$fuse_union is missing: make build, or set FUSE_UNION" >&2; exit 2; }
mkdir -p "$1/context"
folder=$(cd "$1" && pwd)
cp "$2" "$folder/context/root.tar"
printf 'FROM scratch\nADD root.tar /\n' > "$folder/context/base"
cat > "$folder/context/changed" <<'LAYERS'
FROM localhost/base
RUN rm -rf /usr/share/doc && mkdir /usr/share/doc && echo new > /usr/share/doc/x && rm /etc/motd && echo more >> /etc/passwd
RUN mv /usr/share/perl5 /usr/share/moved && ln /etc/passwd /etc/passwd2 && chmod u+s /bin/true && chown 7:8 /etc/issue
RUN test ! -e /etc/motd && rm -rf /opt && mkdir -m 1777 /opt && mkfifo /opt/fifo && ln -s nowhere /opt/link && mv /opt/link /opt/moved
RUN echo first > /srv/one && ln /srv/one /srv/two && rm -rf /usr/share/moved && touch /usr/share/moved
LAYERS

use() { # name, mount_program or nothing, whose store
    export CONTAINERS_STORAGE_CONF="$folder/$1.conf"
    store=${3:-$1}
    {
        printf '[storage]\ndriver = "overlay"\nrunroot = "%s/%s.run"\n' "$folder" "$store"
        printf 'graphroot = "%s/%s"\nrootless_storage_path = "%s/%s"\n' "$folder" "$store" "$folder" "$store"
        [ -z "$2" ] || printf '[storage.options.overlay]\nmount_program = "%s"\n' "$(realpath "$2")"
    } > "$CONTAINERS_STORAGE_CONF"
}
list() { # the size and the links of a directory depend on the file system
    (cd "$1" && find . -printf '%y %m %U:%G %s %n %p %l\n' | awk '$1 == "d" { $4 = $5 = "" } { print }' | sort)
}
build() { # name
    for image in base changed; do
        buildah bud --layers --isolation chroot -t $image -f "$folder/context/$image" "$folder/context" > "$folder/$1.log" 2>&1 ||
            { tail -5 "$folder/$1.log" >&2; exit 1; }
    done
}
tree() { # name
    container=$(buildah from localhost/changed)
    merged=$(buildah mount "$container")
    list "$merged" > "$folder/$1.list"
    buildah umount "$container" > /dev/null
    buildah rm "$container" > /dev/null
    [ "$1" != kernel ] || return 0
    echo "$1: of $(wc -l < "$folder/$1.list") names these are not as with the kernel's overlay (type, mode, owner, size, links):"
    diff "$folder/$1.list" "$folder/kernel.list" | sed -n 's/^</  here  /p; s/^>/  there /p'
}
buildah --version
use kernel ""
build kernel
tree kernel
if command -v fuse-overlayfs > /dev/null; then
    use fuse-overlayfs-on-overlays "$(command -v fuse-overlayfs)" kernel
    tree fuse-overlayfs-on-overlays
    use fuse-overlayfs "$(command -v fuse-overlayfs)"
    build fuse-overlayfs
    tree fuse-overlayfs
fi
use fuse-union-on-overlays "$fuse_union" kernel
tree fuse-union-on-overlays
use fuse-union "$fuse_union"
build fuse-union
tree fuse-union

container=$(podman create --cgroups=disabled --network host localhost/changed true)
merged=$(podman mount "$container")
echo x > "$merged/new"
rm "$merged/etc/issue"
echo "$(podman --version), fuse-union, diff of a container in which /new was made and /etc/issue removed:"
podman diff "$container" | sort | sed 's/^/  /'
podman umount "$container" > /dev/null
podman commit -q "$container" again > /dev/null
podman rm "$container" > /dev/null
container=$(buildah from localhost/again)
merged=$(buildah mount "$container")
there() { [ -e "$1" ] && echo "is there" || echo "is gone"; }
echo "committed: /new $(there "$merged/new"), /etc/issue $(there "$merged/etc/issue")"
buildah umount "$container" > /dev/null
buildah rm "$container" > /dev/null
