#!/bin/sh
# Unpack docker archives into a fresh containerd directory, once for all nodes. Runs in a mount namespace of its own:
#   import.sh GUEST-ROOT TARGET ARCHIVE...
# It uses the guest root's containerd, so that the layout is the one the nodes expect.
set -eu
root=$1 target=$2
shift 2
mount --make-rprivate /
mount --bind "$root" "$root"
mount --rbind /dev "$root/dev"
mount -t proc proc "$root/proc"
for writable in run tmp mnt; do mount -t tmpfs tmpfs "$root/$writable"; done
mkdir "$root/mnt/containerd" "$root/mnt/archives"
mount --bind "$target" "$root/mnt/containerd"
number=0
for archive in "$@"; do
  number=$((number + 1))
  : > "$root/mnt/archives/$number.tar"
  mount --bind "$archive" "$root/mnt/archives/$number.tar"
done
exec chroot "$root" sh -eu -c '
  containerd --root /mnt/containerd --state /run/containerd --address /run/containerd/c.sock --log-level warn &
  daemon=$!
  ctr="ctr --address /run/containerd/c.sock --namespace k8s.io"
  tries=0
  until $ctr version > /dev/null 2>&1; do
    tries=$((tries + 1))
    [ "$tries" -lt 200 ] || { echo "containerd did not start"; exit 1; }
    sleep 0.05
  done
  for archive in /mnt/archives/*.tar; do $ctr images import "$archive"; done
  kill "$daemon"
  wait "$daemon" || true
'
