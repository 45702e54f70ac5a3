#!/bin/sh
# Makes sure that the browser tests find Chromium: installs it where that is possible, else says what to install.
set -eu

for name in chromium chromium-browser google-chrome; do
    if command -v "$name" >/dev/null 2>&1; then
        exit 0
    fi
done
if [ "$(uname -s)" = Darwin ] && [ -d "/Applications/Chromium.app" ]; then
    exit 0
fi
if [ "$(id -u)" -eq 0 ] && command -v apt-get >/dev/null 2>&1; then
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium >/dev/null
    exit 0
fi
echo "The browser tests need Chromium. Install it, for example with: sudo apt-get install chromium" >&2
exit 1
