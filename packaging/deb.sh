#!/bin/sh
# Build the Debian packages qsh and qshd into dist/: deb.sh [VERSION]. Needs what `make` needs, and dpkg-deb.
#
# Of the same tree, toolchain and place the result is the same to the byte: times are those of SOURCE_DATE_EPOCH (the last
# commit's, if it is not set), Python's compiled files are checked by nothing and so hold no times.
set -eu
cd "$(dirname "$0")/.."
PATH="$PATH:${CARGO_HOME:-$HOME/.cargo}/bin"
export PATH PIP_DISABLE_PIP_VERSION_CHECK=1
umask 022
packaging/setup.sh build
python=$(.venv/bin/python -c 'import sys; print(sys._base_executable)')
version=${1:-$(sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml | head -1)}
: "${SOURCE_DATE_EPOCH:=$(git log -1 --format=%ct 2>/dev/null || stat -c %Y pyproject.toml)}"
export SOURCE_DATE_EPOCH
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
lib=usr/lib/qsh

# The wheel, and what it needs, by the hashes of the lock file.
client=$work/qsh
mkdir -p "$client/$lib" "$client/usr/bin"
# Compiled as `setup.sh build` does, so that what is compiled is used again. No time gets into it; what compiles the C parts
# would take them for changed if there were one.
env -u SOURCE_DATE_EPOCH PATH="$PWD/.venv/bin:$PATH" VIRTUAL_ENV="$PWD/.venv" \
    .venv/bin/maturin build --release --locked --quiet --manifest-path native/Cargo.toml --out "$work/wheel"
.venv/bin/pip install --quiet --no-compile --no-deps --require-hashes --target "$client/$lib" -r requirements-runtime.lock
rm -rf "$client/$lib/bin"    # programs of those; pip says so if there are some already
.venv/bin/pip install --quiet --no-compile --no-deps --target "$client/$lib" "$work"/wheel/*.whl
rm -rf "$client/$lib/bin" "$client/$lib"/*.dist-info/direct_url.json "$client/$lib"/*.dist-info/RECORD
# The list of crates without the time, the chance and the place that it was made in.
sed -i -e '/"serialNumber":/d' -e '/"timestamp":/d' -e "s#file://$PWD#file:///qsh#g" "$client/$lib"/qsh_shell-*.dist-info/sboms/*.json
find "$client/$lib" -name '*.so' -exec chmod 644 {} +
find "$client/$lib" -name '*.dist-info' -prune -exec sh -c 'for each; do touch "$each/INSTALLER"; done' sh {} +
[ "$version" = "$(sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml | head -1)" ] ||
    sed -i "s/^__version__ = .*/__version__ = \"$version\"/" "$client/$lib/qsh/__init__.py"
PYTHONHASHSEED=0 "$python" -m compileall -q --invalidation-mode unchecked-hash -s "$client" -p / "$client/$lib"

program() {    # PATH MODULE FUNCTION; without the user's site, environment and current directory in the way
    cat > "$1" <<EOF
#!/usr/bin/python3 -IS
import sys

sys.path.insert(0, "/$lib")
from $2 import $3

$3()
EOF
    chmod 755 "$1"
}
program "$client/usr/bin/qsh" qsh.cli.client main
program "$client/usr/bin/qshctl" qsh.cli.control main
program "$client/usr/bin/qscp" qsh.cli.copies scp
program "$client/usr/bin/qsftp" qsh.cli.copies sftp

server=$work/qshd
mkdir -p "$server/usr/sbin" "$server/etc/init.d" "$server/etc/pam.d" "$server/etc/qsh/qshd_config.d" "$server/lib/systemd/system" \
    "$server/usr/lib/sysusers.d" "$server/usr/lib/tmpfiles.d" "$server/etc/ufw/applications.d" "$server/usr/lib/firewalld/services" \
    "$server/usr/share/doc/qshd/examples" "$server/etc/fail2ban/filter.d" "$server/etc/fail2ban/jail.d"
program "$server/usr/sbin/qshd" qsh.cli.daemon main
install -m 755 packaging/init/qshd "$server/etc/init.d/qshd"
install -m 644 packaging/pam/qshd "$server/etc/pam.d/qshd"
install -m 644 packaging/config/qshd_config "$server/etc/qsh/qshd_config"
install -m 644 packaging/systemd/* "$server/lib/systemd/system/"
install -m 644 packaging/sysusers/qsh.conf "$server/usr/lib/sysusers.d/qsh.conf"
install -m 644 packaging/tmpfiles/qsh.conf "$server/usr/lib/tmpfiles.d/qsh.conf"
install -m 644 packaging/firewall/qshd.ufw "$server/etc/ufw/applications.d/qshd"
install -m 644 packaging/firewall/qshd.xml "$server/usr/lib/firewalld/services/qsh.xml"
install -m 644 packaging/fail2ban/filter.conf "$server/etc/fail2ban/filter.d/qshd.conf"
install -m 644 packaging/fail2ban/jail.conf "$server/etc/fail2ban/jail.d/qshd.conf"
install -m 644 packaging/debian/qshd.README.Debian "$server/usr/share/doc/qshd/README.Debian"
install -m 644 packaging/apparmor/qshd "$server/usr/share/doc/qshd/examples/apparmor"

manual() {    # FILE PACKAGE_ROOT
    section=${1##*.}
    mkdir -p "$2/usr/share/man/man$section"
    gzip -9n < "man/$1" > "$2/usr/share/man/man$section/$1.gz"
}
for page in qsh.1 qscp.1 qsh_config.5 qshctl.1; do manual "$page" "$client"; done
ln -s qscp.1.gz "$client/usr/share/man/man1/qsftp.1.gz"
for page in qshd.8 qshd_config.5; do manual "$page" "$server"; done

"$python" packaging/licences.py "$client/$lib" > "$work/licences"
for name in qsh qshd; do
    root=$work/$name
    doc=$root/usr/share/doc/$name
    mkdir -p "$doc" "$root/DEBIAN"
    { echo "qsh: Apache-2.0, in /usr/share/common-licenses/Apache-2.0. The qsh authors."; echo; cat "$work/licences"; } > "$doc/copyright"
    gzip -9n < CHANGELOG.md > "$doc/changelog.gz"
    cp README.md SECURITY.md "$doc/"
    next=$("$python" -c 'import sys; print(f"3.{sys.version_info[1] + 1}")')
    sed -e "s/@VERSION@/$version/; s/@ARCH@/$(dpkg --print-architecture)/" \
        -e "s/@PYTHON@/$("$python" -c 'import sys; print(f"3.{sys.version_info[1]}")')/; s/@NEXT_PYTHON@/$next/" \
        -e "s/@LIBC@/$(getconf GNU_LIBC_VERSION | cut -d' ' -f2)/; s/qsh (= @VERSION@)/qsh (= $version)/" \
        "packaging/debian/$name.control" > "$root/DEBIAN/control"
    size=$(find "$root" -type f -printf '%s\n' | awk '{ kib += int(($1 + 1023) / 1024) } END { print kib }')    # du counts folders, whose sizes vary
    echo "Installed-Size: $size" >> "$root/DEBIAN/control"
    for script in postinst prerm postrm; do
        [ ! -e "packaging/debian/$name.$script" ] || install -m 755 "packaging/debian/$name.$script" "$root/DEBIAN/$script"
    done
    (cd "$root" && find etc -type f 2>/dev/null | LC_ALL=C sort | sed 's#^#/#') > "$root/DEBIAN/conffiles" || true
    [ -s "$root/DEBIAN/conffiles" ] || rm "$root/DEBIAN/conffiles"
    (cd "$root" && find usr lib -type f 2>/dev/null | LC_ALL=C sort | xargs md5sum) > "$root/DEBIAN/md5sums"
    find "$root" -exec touch -h -d "@$SOURCE_DATE_EPOCH" {} +
done
mkdir -p dist
arch=$(dpkg --print-architecture)
# A tenth of xz's time to unpack, in which an upgrade has half of the files; and a quarter to pack.
compress="-Zzstd -z12"
# shellcheck disable=SC2086
dpkg-deb --root-owner-group $compress --build "$client" "dist/qsh_${version}_$arch.deb" > /dev/null
# shellcheck disable=SC2086
dpkg-deb --root-owner-group $compress --build "$server" "dist/qshd_${version}_all.deb" > /dev/null
echo "dist/qsh_${version}_$arch.deb dist/qshd_${version}_all.deb"
