# shellcheck shell=bash
# Finds or installs a private database server, with its data in target/, on a free port of 127.0.0.1.
# The machine's own instance is never started, stopped or read. This file is sourced after deploy/lib.sh.

# find_server NAME: sets FOUND. Ordinary users often lack /usr/sbin in their PATH.
find_server() {
    FOUND=$(PATH=$PATH:/usr/local/sbin:/usr/sbin:/usr/libexec command -v "$1") || return 1
}

# engine_of SERVER: prints mariadb or mysql, or nothing if the server can't tell its version. Its name isn't enough:
# Debian's mysqld may be a link to mariadbd.
engine_of() {
    local version
    version=$("$1" --no-defaults --version 2>/dev/null </dev/null) || return 0
    case $version in
        *MariaDB* | *mariadb*) printf 'mariadb' ;;
        *Ver*) printf 'mysql' ;;
    esac
}

# find_database_server mariadb|any: sets DATABASE_SERVER and DATABASE_ENGINE, and fails if there is no server.
# Where FLASHSALE_TEST_MYSQLD is set, it alone decides.
find_database_server() {
    local wanted=$1 name
    if [ -n "${FLASHSALE_TEST_MYSQLD:-}" ]; then
        DATABASE_SERVER=$(command -v "$FLASHSALE_TEST_MYSQLD") || die "FLASHSALE_TEST_MYSQLD can't be run: $FLASHSALE_TEST_MYSQLD"
        [ "${DATABASE_SERVER:0:1}" = / ] || DATABASE_SERVER=$PWD/$DATABASE_SERVER
        DATABASE_ENGINE=$(engine_of "$DATABASE_SERVER")
        [ -n "$DATABASE_ENGINE" ] || die "FLASHSALE_TEST_MYSQLD is no database server that runs: $DATABASE_SERVER --version failed"
        return
    fi
    for name in mariadbd mysqld; do
        find_server "$name" || continue
        DATABASE_SERVER=$FOUND
        DATABASE_ENGINE=$(engine_of "$FOUND")
        case $wanted:$DATABASE_ENGINE in
            any:m* | mariadb:mariadb) ;;
            *) continue ;;
        esac
        # MariaDB's data folder is made by a script, which needs my_print_defaults of the client's package.
        if [ "$DATABASE_ENGINE" = mysql ] || { command -v mariadb-install-db && command -v my_print_defaults; } >/dev/null; then
            return
        fi
    done
    return 1
}

# ensure_database_server mariadb|any: finds a server or installs MariaDB. Debian's -core packages are the programs
# without the service, so nothing is started and no data of the machine is touched.
ensure_database_server() {
    local package
    if ! find_database_server "$1"; then
        say "No database server found on PATH or in /usr/sbin"
        for package in "" -10.6; do # Ubuntu 22.04 has the version in the name
            apt_install "a private database server" "mariadb-server-core$package" "mariadb-client-core$package" && break
        done
        find_database_server "$1" \
            || die "Still no database server. Please install MariaDB 10.6 or newer (apt-get install mariadb-server), or point FLASHSALE_TEST_MYSQLD at a mysqld"
    fi
    say "Database server: $("$DATABASE_SERVER" --no-defaults --version)"
    check_version
}

# SKIP LOCKED came with MariaDB 10.6, and CHECK constraints with MySQL 8.0. An older server would fail late and obscurely.
check_version() {
    local major minor
    read -r major minor < <("$DATABASE_SERVER" --no-defaults --version | sed -n 's/.* Ver \([0-9]*\)\.\([0-9]*\).*/\1 \2/p')
    case $DATABASE_ENGINE in
        mariadb) [ $((major * 100 + minor)) -ge 1006 ] ;;
        *) [ "$major" -ge 8 ] ;;
    esac || die "$DATABASE_SERVER is too old: it takes MariaDB 10.6 or newer, or MySQL 8.0 or newer. deploy/mysql provides one: FLASHSALE_TEST_MYSQLD=\$(deploy/mysql)"
}

# initialize_database FOLDER LOG: makes a data folder, once. It is made under another name and renamed when it is
# complete, so a folder that was interrupted half-way is recognized and made anew.
initialize_database() {
    local folder=$1 log=$2 unfinished=$1.unfinished
    if [ -d "$folder" ]; then
        # A server that runs as another user couldn't open it, and says so only in a long log.
        [ -O "$folder" ] || die "$folder belongs to another user. Run this as that user, or remove the folder to start anew"
        return
    fi
    if [ -d "$unfinished" ]; then
        say "Redoing a data folder that was left half-made"
        rm -rf "$unfinished"
    fi
    say "Making the data folder $folder (some seconds)"
    mkdir -p "$(dirname "$folder")"
    mkdir -m 700 "$unfinished"
    local as_user=()
    [ "$(id -u)" -ne 0 ] || as_user=(--user=root) # servers refuse to run as root unless told to
    local command=("$DATABASE_SERVER" --no-defaults --initialize-insecure "${as_user[@]}" --datadir="$unfinished")
    if [ "$DATABASE_ENGINE" = mariadb ]; then
        command=(mariadb-install-db --no-defaults "${as_user[@]}" --datadir="$unfinished"
            --auth-root-authentication-method=socket --auth-root-socket-user="$(id -un)" --skip-test-db)
    fi
    if ! timeout --foreground 300 "${command[@]}" >"$log" 2>&1 </dev/null; then
        show_tail "$log"
        die "Could not make a data folder within 300 s with: ${command[*]} (if AppArmor confines that server, use another)"
    fi
    mv "$unfinished" "$folder"
}

# start_database FOLDER [OPTION…]: starts DATABASE_SERVER on FOLDER/data-<engine> with its default durability, and waits
# until it greets. Sets DATABASE_PID and DATABASE_PORT. Its log is FOLDER/database.log. Each OPTION goes to the server.
start_database() {
    local folder=$1
    shift
    local data=$folder/data-$DATABASE_ENGINE log=$folder/database.log try old
    mkdir -p "$folder"
    initialize_database "$data" "$log"

    # A script that was killed a moment ago leaves a server that still closes its files.
    old=$(cat "$data/server.pid" 2>/dev/null) || old=
    if [ -n "$old" ] && tr '\0' ' ' <"/proc/$old/cmdline" 2>/dev/null | grep -qF -- "--datadir=$data "; then
        stop_process "the database server of an earlier run" "$old" 60 || true
    fi

    # A socket's path has at most 107 bytes. Where the project's folder is deep, the socket gets a short path.
    local socket=$folder/database.sock
    if [ "${#socket}" -gt 100 ]; then
        DATABASE_SOCKET_FOLDER=$(mktemp -d /tmp/flashsale.XXXXXX)
        socket=$DATABASE_SOCKET_FOLDER/database.sock
    fi

    # The server gets its own tmpdir: in /tmp, another MariaDB deletes all servers' temporary tables at its start.
    mkdir -p "$folder/tmp"
    local options=(--no-defaults --datadir="$data" --socket="$socket" --pid-file="$data/server.pid" --tmpdir="$folder/tmp"
        --bind-address=127.0.0.1)
    [ "$(id -u)" -ne 0 ] || options+=(--user=root)
    [ "$DATABASE_ENGINE" != mysql ] || options+=(--mysqlx=OFF)
    for try in 1 2 3; do # somebody may take the port between the look and the start
        free_port
        DATABASE_PORT=$PORT
        say "Starting the private database server on 127.0.0.1:$DATABASE_PORT"
        : >"$log"
        start_process "$log" "$DATABASE_SERVER" "${options[@]}" --port="$DATABASE_PORT" "$@"
        DATABASE_PID=$PID
        wait_for_greeting && return
        if [ "$try" -eq 3 ] || ! grep -q 'Address already in use' "$log"; then
            break
        fi
    done
    show_tail "$log"
    die "The private database server did not start. Its log: $log. To start anew without its data: rm -r $data"
}

# Once the server takes statements, it sends a greeting to whoever connects. After a crash it first repairs its files.
wait_for_greeting() {
    local seconds
    for seconds in {1..120}; do
        # shellcheck disable=SC2016 # expanded by the inner shell
        if timeout 2 bash -c 'exec 3<>"/dev/tcp/127.0.0.1/$1" && read -r -n 1 <&3' greeting "$DATABASE_PORT" 2>/dev/null; then
            return 0
        fi
        is_running "$DATABASE_PID" || return 1
        [ $((seconds % 10)) -ne 0 ] || say "Waiting for the database server's greeting on port $DATABASE_PORT, $seconds s of 120"
        sleep 1
    done
    warn "The database server on port $DATABASE_PORT sent no greeting within 120 s"
    stop_process "the database server" "$DATABASE_PID" 10
    return 1
}

stop_database() {
    [ -n "${DATABASE_PID:-}" ] || return 0
    stop_process "the database server" "$DATABASE_PID" 60 || true
    DATABASE_PID=
    [ -z "${DATABASE_SOCKET_FOLDER:-}" ] || rm -rf "$DATABASE_SOCKET_FOLDER"
}
