#!/bin/sh
# Tries `detect watch /dev/video0` on a camera that is always there: the test driver vivid of Linux, in an emulated
# machine with Debian's kernel. Every pixel format is read once, then the camera is taken away and brought back.
#
# usage: tools/detect/camera.sh [FOLDER]
#
# FOLDER gets what the emulated machine said and, of each format, the frame as `detect` drew it: colour bars, which show
# whether the colours are right. Needs Debian's packages qemu-system-x86, busybox-static, cpio, kmod and v4l-utils; the
# kernel is downloaded by apt-get and not installed.
set -eu
cd "$(dirname "$0")/../.."

for tool in qemu-system-x86_64 busybox cpio modinfo v4l2-ctl apt-get; do
    PATH=$PATH:/sbin:/usr/sbin command -v $tool > /dev/null || {
        echo "camera.sh: $tool is missing; apt-get install qemu-system-x86 busybox-static cpio kmod v4l-utils" >&2
        exit 1
    }
done
PATH=$PATH:/sbin:/usr/sbin
out=${1:-target/camera}
mkdir -p "$out"
out=$(cd "$out" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

cargo build --release --workspace --bin detect
root=$work/root
mkdir -p "$root/bin" "$root/dev" "$root/proc" "$root/sys" "$root/modules" "$root/tmp"
cp "$(command -v busybox)" target/release/detect "$(command -v v4l2-ctl)" "$root/bin/"
cp tools/detect/tests/data/squares.onnx "$root/"
for program in detect v4l2-ctl; do
    for library in $(ldd "$root/bin/$program" | grep -oE '/[^ ]+\.so[^ ]*'); do
        mkdir -p "$root/$(dirname "$library")"
        cp -L "$library" "$root/$library"
    done
done

# The kernel, and the modules that vivid needs, each after those it needs itself.
kernel=$(apt-cache depends linux-image-amd64 | sed -n 's/.*Depends: \(linux-image-[0-9][^ ]*\)$/\1/p' | head -n 1)
(cd "$work" && apt-get download "$kernel" && dpkg -x "$kernel"_*.deb kernel)
add() {
    file=$(find "$work/kernel" \( -name "$1.ko*" -o -name "$(echo "$1" | tr _ -).ko*" \) | head -n 1)
    [ -n "$file" ] && [ ! -e "$root/modules/$1.ko" ] || return 0
    for needed in $(modinfo -F depends "$file" | tr , ' '); do
        (add "$needed")
    done
    cp "$file" "$root/modules/$1.ko"
    echo "$1" >> "$root/modules/order"
}
add vivid

cat > "$root/init" << 'END'
#!/bin/busybox sh
/bin/busybox --install -s /bin
export PATH=/bin
mount -t proc proc /proc && mount -t sysfs sys /sys && mount -t devtmpfs dev /dev
camera() { insmod /modules/vivid.ko n_devs=1 node_types=0x1 input_types=0x0 vid_cap_nr=0; }
for module in $(grep -v vivid /modules/order); do insmod /modules/$module.ko; done
camera
watch() { detect watch --model /squares.onnx /dev/video0 --json /tmp/found.jsonl "$@"; }
for format in YUYV UYVY NV12 YU12 RGB3 BGR3 GREY; do
    v4l2-ctl -d /dev/video0 --set-fmt-video=width=320,height=180,pixelformat=$format
    watch --frames 1 --out /tmp/$format && echo "read $format"
done
v4l2-ctl -d /dev/video0 --set-fmt-video=width=320,height=180,pixelformat=NV16
watch --frames 1 && echo "read what was set to a format that is not known"
watch --frames 300 &
sleep 2
v4l2-ctl -d /dev/video0 -c disconnect=1
wait $! && echo "read on after an interruption"
watch --retries 2 &
sleep 2
echo vivid.0 > /sys/bus/platform/drivers/vivid/unbind
wait $! || echo "ended when the camera was gone"
stty -F /dev/ttyS1 raw
cd /tmp && tar c . > /dev/ttyS1
poweroff -f
END
chmod +x "$root/init"
(cd "$root" && find . | cpio -o -H newc --quiet | gzip -1) > "$work/initrd"

timeout 600 qemu-system-x86_64 -accel tcg -cpu max -m 2048 -display none -monitor none -nic none -no-reboot \
    -kernel "$work"/kernel/boot/vmlinuz-* -initrd "$work/initrd" -append "console=ttyS0 quiet panic=-1" \
    -serial stdio -serial "file:$out/frames.tar" | tee "$out/log.txt"
tar -xf "$out/frames.tar" -C "$out"

said=$(grep -cE '^(read |ended when)' "$out/log.txt")
if [ "$said" -ne 10 ]; then
    echo "camera.sh: $said of 10 trials went well; see $out/log.txt" >&2
    exit 1
fi
echo "all 10 trials went well; the frames are in $out"
