#!/bin/bash
# vm.sh setup            fetch Debian's stock kernel and make its initramfs (once; needs apt)
# vm.sh run CMD [ARG..]  boot it under qemu's software emulation, run CMD as root, exit with its status
#
# Why: the kernel underneath may lack what the rules need (nft's `queue` statement), and some
# tests must not be run on a kernel one wants to keep. The guest sees this machine's / read-only
# through 9p, below a tmpfs that takes all writes; VM_OUT (default: a directory that is deleted) is
# /out, writable. Booting takes 3-4 s, starting a process 30 ms: do many checks in one boot.
#
# VM_BOOT=1 boots systemd, with the services of its root, and runs CMD once it has started them.
#
# VM_KERNEL   Debian's package that depends on the kernel's own (linux-image-amd64)
# VM_DIR      where kernel and initramfs are kept   (/var/tmp/nattt-vm, or .../nattt-vm-VM_KERNEL)
# VM_ENV      names of variables to pass on
# VM_TIMEOUT  seconds until the guest is killed     (300)
# VM_MEM      MiB (1024)      VM_SMP  CPUs (2)
# VM_ROOT     what the guest sees as / (/)
set -euo pipefail

VM_DIR=${VM_DIR:-/var/tmp/nattt-vm${VM_KERNEL:+-$VM_KERNEL}}
# Modules loaded at boot, in addition to those of the root file system.
MODULES="nf_tables nft_queue nfnetlink_queue nft_ct nft_masq nft_nat nft_redir nft_fib_inet
 nft_chain_nat nft_reject_inet nft_numgen nft_hash nft_limit nft_log nft_compat nf_conntrack_netlink
 nfnetlink_cttimeout veth tun bridge dummy
 nft_dup_ipv4 ip_tables xt_tcpudp xt_TEE xt_NFQUEUE xt_u32 xt_mark xt_connmark xt_conntrack xt_addrtype ipt_REJECT"
# Parts of nf_tables itself in later kernels.
PARTS="nft_objref"
ROOT_MODULES="virtio_pci 9pnet_virtio 9p overlay crc32c_generic"

die() { echo "vm: $*" >&2; exit 125; }

script=$(realpath "$0")
# Whether VM_DIR holds what this very script makes.
ready() { [ "$(cat "$VM_DIR/made-by" 2>/dev/null)" = "$(sha256sum <"$script")" ]; }

setup() {
  local tool
  for tool in qemu-system-x86_64 busybox cpio xz dpkg python3 modprobe; do
    command -v $tool >/dev/null ||
      die "$tool is missing: apt-get install qemu-system-x86 busybox-static cpio xz-utils kmod python3-minimal"
  done
  mkdir -p "$VM_DIR"
  exec 9>"$VM_DIR/lock"; flock 9
  fetch_kernel
  unpack_kernel
  make_initramfs
  sha256sum <"$script" >"$VM_DIR/made-by"
  echo "vm: kernel $(cat "$VM_DIR/version") is ready in $VM_DIR"
}

fetch_kernel() (
  cd "$VM_DIR"
  meta=${VM_KERNEL:-linux-image-amd64}
  package=$(apt-cache depends "$meta" 2>/dev/null | awk '/Depends: linux-image/ { print $2; exit }')
  [ -n "$package" ] || { echo "skip: apt knows no $meta" >&2; exit 77; }
  rm -rf image "$package"_*.deb
  apt-get -q download "$package"
  dpkg -x "$package"_*.deb image
  rm -f "$package"_*.deb
  ls image/lib/modules >version
  depmod -b image "$(cat version)"
)

# The bare ELF kernel is entered through PVH: nothing has to be decompressed in emulation.
unpack_kernel() {
  python3 - "$VM_DIR/image/boot/vmlinuz-$(cat "$VM_DIR/version")" "$VM_DIR/vmlinux" <<'P'
import subprocess, sys
packers = {b"\xfd7zXZ\x00": "xz", b"\x28\xb5\x2f\xfd": "zstd", b"\x02\x21\x4c\x18": "lz4", b"\x1f\x8b\x08": "gzip"}
image = open(sys.argv[1], "rb").read()
for magic, tool in packers.items():
    at = image.find(magic)
    while at >= 0:
        done = subprocess.run([tool, "-dc"], input=image[at:], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        if done.stdout.startswith(b"\x7fELF"):
            open(sys.argv[2], "wb").write(done.stdout)
            sys.exit(0)
        at = image.find(magic, at + 1)
sys.exit("vm: no kernel found in " + sys.argv[1])
P
}

module_files() {
  {
    for module in $ROOT_MODULES $MODULES; do insmods "$module"; done
    for module in $PARTS; do insmods "$module" 2>/dev/null || true; done
  } | awk '$1 == "insmod" && !seen[$2]++ { print $2 }' | grep -v crc32c-intel
}

insmods() { modprobe -d "$VM_DIR/image" -S "$(cat "$VM_DIR/version")" --show-depends "$1"; }

make_initramfs() {
  local root file name
  root=$(mktemp -d)
  mkdir -p "$root"/{bin,dev,proc,sys,host,rw,new,modules}
  cp "$(command -v busybox)" "$root/bin/busybox"
  ln -s busybox "$root/bin/sh"
  module_files | while read -r file; do
    name=$(basename "$file" .xz)
    if [ "$file" = "${file%.xz}" ]; then cp "$file" "$root/modules/$name"; else xz -dc "$file" >"$root/modules/$name"; fi
    echo "$name" >>"$root/order"
  done
  guest_init >"$root/init"
  chmod +x "$root/init"
  (cd "$root" && find . | cpio -o -H newc --quiet) >"$VM_DIR/initramfs"
  rm -rf "$root"
}

guest_init() {
  cat <<'I'
#!/bin/sh
export PATH=/bin
b=/bin/busybox
$b mount -t devtmpfs dev /dev; $b mount -t proc proc /proc; $b mount -t sysfs sys /sys
while read module; do $b insmod "/modules/$module" || echo "vm: module $module does not load"; done </order
for word in $($b cat /proc/cmdline); do case $word in vm.modules=*) modules=${word#*=};; esac; done
share="trans=virtio,version=9p2000.L,msize=512000"
$b mount -t 9p -o "ro,cache=loose,$share" root /host || echo "vm: no root share"
$b mount -t tmpfs rw /rw; $b mkdir /rw/upper /rw/work
$b mount -t overlay -o lowerdir=/host,upperdir=/rw/upper,workdir=/rw/work root /new
for dir in dev proc sys run out lib/modules; do $b mkdir -p "/new/$dir"; done
$b mount -t devtmpfs dev /new/dev; $b mount -t proc proc /new/proc; $b mount -t sysfs sys /new/sys
$b mkdir -p /new/dev/pts /new/dev/shm; $b mount -t devpts pts /new/dev/pts
for dir in run dev/shm; do $b mount -t tmpfs tmp "/new/$dir"; done
$b ln -s /proc/self/fd /new/dev/fd
$b mount -o bind "/new$modules" /new/lib/modules
$b mount -t 9p -o "cache=none,$share" out /new/out || echo "vm: no output share"
$b ip link set lo up
$b stty -F /dev/console -onlcr
exec $b switch_root /new /bin/bash /out/.init
I
}

# The guest's part: run the command, leave its status, end qemu through its debug exit.
guest_script() {
  local name
  echo 'export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root TERM=dumb'
  for name in ${VM_ENV:-}; do printf 'export %s=%q\n' "$name" "${!name-}"; done
  [ "${VM_ROOT:-/}" != / ] || printf 'cd %q\n' "$PWD"
  printf 'setsid -w'
  printf ' %q' "$@"
  printf ' </dev/null\necho $? >/out/.status; sync\n'
  printf '%s\n' 'printf "\0" | dd of=/dev/port bs=1 seek=244 status=none; echo o >/proc/sysrq-trigger; sleep 60'
}

# PID 1 is systemd. The command is its last service, and may wait for any other.
boot_script() {
  cat <<'B'
unit=/etc/systemd/system/vm-command.service
printf '%s\n' >$unit [Unit] After=default.target [Service] Type=oneshot \
  'ExecStart=/bin/bash /out/.command' StandardOutput=tty StandardError=inherit TTYPath=/dev/console
mkdir -p /etc/systemd/system/default.target.wants
# Without udev it would wait for its device.
ln -s /dev/null /etc/systemd/system/serial-getty@ttyS0.service
ln -sf $unit /etc/systemd/system/default.target.wants/
exec /lib/systemd/systemd
B
}

run() {
  local out status ended=0 root=${VM_ROOT:-/} modules=$VM_DIR/image/lib/modules
  ready || die "not set up by this script yet: VM_KERNEL=${VM_KERNEL:-} $0 setup"
  out=${VM_OUT:-$(mktemp -d)}
  rm -f "$out/.status"
  guest_script "$@" >"$out/.init"
  if [ -n "${VM_BOOT:-}" ]; then
    mv "$out/.init" "$out/.command"
    boot_script >"$out/.init"
  fi
  [ "$root" = / ] || modules=/lib/modules
  timeout -k 5 "${VM_TIMEOUT:-300}" qemu-system-x86_64 \
    -M q35 -accel tcg,thread=multi,tb-size=512 -cpu Nehalem -smp "${VM_SMP:-2}" -m "${VM_MEM:-1024}" \
    -display none -no-user-config -nodefaults -no-reboot -serial stdio \
    -device isa-debug-exit,iobase=0xf4,iosize=4 \
    -kernel "$VM_DIR/vmlinux" -initrd "$VM_DIR/initramfs" \
    -fsdev local,id=root,path=$root,security_model=none,readonly=on,multidevs=remap \
    -device virtio-9p-pci,fsdev=root,mount_tag=root \
    -fsdev local,id=out,path="$out",security_model=none,multidevs=remap \
    -device virtio-9p-pci,fsdev=out,mount_tag=out \
    -append "console=ttyS0 quiet loglevel=3 panic=-1 nokaslr mitigations=off tsc=reliable no_timer_check
 audit=0 selinux=0 systemd.show_status=0 cryptomgr.notests rcupdate.rcu_expedited=1 random.trust_cpu=on apparmor=0
 vm.modules=$modules" </dev/null || ended=$?
  # The debug exit makes a 0 into (0 << 1) | 1.
  [ $ended = 1 ] || echo "vm: qemu ended with $ended" >&2
  status=$(cat "$out/.status" 2>/dev/null || echo 125)
  [ -n "${VM_OUT:-}" ] || rm -rf "$out"
  return "$status"
}

case ${1:-} in
  setup) ready || setup ;;
  run) shift; run "$@" ;;
  *) sed -n '2,3s/^# //p' "$0" >&2; exit 2 ;;
esac
