# A fresh Debian 12 in a directory, for tests of what newcomers and administrators do; source it behind lib.sh.
#   need_debian PACKAGE...   makes $CHROOT: minbase and these packages. Skips the test where that cannot be (not root, no debootstrap, no
#                            network). The base is kept in build/chroot/ for the next time.
#   inside CMD...            runs it in there, with mounts and processes of its own that go with it
# shellcheck shell=bash

CHROOT=$T/debian
DEBIAN_MIRROR=${DEBIAN_MIRROR:-http://deb.debian.org/debian}

need_debian() {
  local base=$SRC/build/chroot/bookworm.tar
  [ "$(id -u)" = 0 ] || skip_all "only root can make a Debian in a directory"
  unshare --mount --pid --fork true 2>/dev/null || skip_all "namespaces are not allowed here"
  if [ ! -s "$base" ]; then
    command -v debootstrap >/dev/null || skip_all "debootstrap is not installed"
    curl -sS -m 20 -o /dev/null "$DEBIAN_MIRROR/dists/bookworm/Release" 2>/dev/null || skip_all "$DEBIAN_MIRROR does not answer"
    mkdir -p "${base%/*}"
    debootstrap --variant=minbase --include=ca-certificates bookworm "$CHROOT.base" "$DEBIAN_MIRROR" >debootstrap.log 2>&1 || skip_all "debootstrap failed: $(tail -n 1 debootstrap.log)"
    tar -C "$CHROOT.base" -cf "$base.$$" . && mv "$base.$$" "$base"
    rm -rf "$CHROOT.base"
  fi
  mkdir "$CHROOT"
  tar -C "$CHROOT" -xpf "$base"
  cp -L /etc/resolv.conf "$CHROOT/etc/resolv.conf"
  # Services are not started by their installation.
  printf '#!/bin/sh\nexit 101\n' >"$CHROOT/usr/sbin/policy-rc.d"
  chmod 755 "$CHROOT/usr/sbin/policy-rc.d"
  inside apt-get -q update >apt.log 2>&1 || skip_all "no package lists: $(tail -n 1 apt.log)"
  [ $# = 0 ] || inside apt-get -q install -y --no-install-recommends "$@" >>apt.log 2>&1 || skip_all "could not install $*: $(tail -n 1 apt.log)"
}
inside() {
  # shellcheck disable=SC2016 # for the inner shell
  env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8 TZ=UTC0 DEBIAN_FRONTEND=noninteractive \
    unshare --mount --pid --fork --kill-child --uts sh -c 'mount -t proc proc "$1/proc" && hostname newcomer && shift 1 && exec chroot "$@"' - "$CHROOT" "$CHROOT" "$@"
}
