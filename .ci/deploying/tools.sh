# shellcheck shell=bash
# Finds or fetches the programs that .ci/deploy needs from Debian. Sourced after deploy/lib.sh.
# Debian's packages of proxies would start services on public ports, so they are only unpacked, in target/tools.

TOOLS_DIR=$TARGET_DIR/tools

# unpack PACKAGE…: unpacks Debian packages in TOOLS_DIR.
unpack() {
    local fetched package
    command -v apt-get >/dev/null && command -v dpkg-deb >/dev/null || return 1
    if [ "$(id -u)" -eq 0 ] || command -v sudo >/dev/null; then
        apt_update
    fi
    fetched=$(mktemp -d "$TARGET_DIR/fetched.XXXXXX")
    say "Fetching from Debian: $*"
    for package in "$@"; do
        if ! (cd "$fetched" && apt-get "${APT_OPTIONS[@]}" -q -o APT::Sandbox::User=root download "$package" >&2 </dev/null); then
            rm -rf "$fetched"
            return 1
        fi
    done
    mkdir -p "$TOOLS_DIR"
    for package in "$fetched"/*.deb; do
        dpkg-deb --extract "$package" "$TOOLS_DIR"
    done
    rm -rf "$fetched"
}

# tool PROGRAM PACKAGE…: sets TOOL to the program on the machine, or to that of Debian's packages. Fails where there is none.
tool() {
    local program=$1 libraries
    shift
    libraries=$TOOLS_DIR/usr/lib/$(uname -m)-linux-gnu
    TOOL=$(PATH=$PATH:/usr/local/sbin:/usr/sbin command -v "$program") && return
    TOOL=$TOOLS_DIR/$program
    if [ ! -x "$TOOL" ]; then
        unpack "$@" || return 1
        [ -x "$TOOLS_DIR/usr/sbin/$program" ] || return 1
        # A program of its own folder finds its libraries there as well.
        printf '#!/bin/sh\nLD_LIBRARY_PATH=%s exec %s "$@"\n' "$libraries" "$TOOLS_DIR/usr/sbin/$program" >"$TOOL"
        chmod 755 "$TOOL"
    fi
    "$TOOL" -v >/dev/null 2>&1
}

# stream_module NGINX: sets NGINX_MODULES to what nginx needs to be told for TCP. Debian has that as a package of its own.
stream_module() {
    local module
    NGINX_MODULES=
    if "$1" -V 2>&1 | grep -q -- '--with-stream=dynamic'; then
        for module in /usr/lib/nginx/modules/ngx_stream_module.so "$TOOLS_DIR/usr/lib/nginx/modules/ngx_stream_module.so"; do
            [ -e "$module" ] && break
        done
        [ -e "$module" ] || { unpack libnginx-mod-stream && [ -e "$module" ]; } || return 1
        # shellcheck disable=SC2034 # read by .ci/deploy
        NGINX_MODULES="load_module $module;"
    fi
}
