#!/usr/bin/env bash
# Installs the Debian packages of deploy/packages.txt that are missing. Run again at any time.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)

missing=()
while read -r package; do
  [[ -z $package || $package == \#* ]] && continue
  dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null | grep -qx installed || missing+=("$package")
done <"$here/packages.txt"
if ((${#missing[@]} == 0)); then
  echo "weft: every package is installed" >&2
  exit 0
fi

as_root=()
if ((EUID != 0)); then
  command -v sudo >/dev/null || {
    echo "weft: installing ${missing[*]} needs root: run this as root, or install sudo" >&2
    exit 77
  }
  as_root=(sudo)
fi
echo "weft: installing ${#missing[@]} packages: ${missing[*]}" >&2
export DEBIAN_FRONTEND=noninteractive
"${as_root[@]}" apt-get update -q >&2
"${as_root[@]}" apt-get -o DPkg::Lock::Timeout=900 install -y -q --no-install-recommends "${missing[@]}" >&2
