# shellcheck shell=bash
# Finds or fetches Prometheus, and starts a private instance of it. This file is sourced after deploy/lib.sh.

# ensure_prometheus: sets PROMETHEUS and PROMTOOL, and fails where they can't be had. Debian's package would start a
# service that listens on every address, so its programs are only unpacked, in target/prometheus.
ensure_prometheus() {
    local folder=$TARGET_DIR/prometheus
    if PROMETHEUS=$(command -v prometheus) && PROMTOOL=$(command -v promtool); then
        return
    fi
    PROMETHEUS=$folder/usr/bin/prometheus PROMTOOL=$folder/usr/bin/promtool
    if [ -x "$PROMETHEUS" ] && [ -x "$PROMTOOL" ]; then
        return
    fi
    if ! command -v apt-get >/dev/null || ! command -v dpkg-deb >/dev/null; then
        warn "There is no prometheus here, and this is no Debian or Ubuntu: please install it"
        return 1
    fi
    if [ "$(id -u)" -eq 0 ] || command -v sudo >/dev/null; then
        apt_update
    fi
    say "Fetching Debian's prometheus into $folder"
    rm -rf "$folder" "$folder.unfinished"
    mkdir -p "$folder.unfinished"
    # The package is named last by its complete folder, so a fetch that was cut off is done anew.
    if ! (cd "$folder.unfinished" && apt-get "${APT_OPTIONS[@]}" -q download prometheus >&2 </dev/null \
        && dpkg-deb --extract prometheus_*.deb . && rm prometheus_*.deb && usr/bin/promtool --version >&2); then
        rm -rf "$folder.unfinished"
        warn "prometheus could not be fetched. By hand, as root: apt-get install --no-install-recommends prometheus"
        return 1
    fi
    mv "$folder.unfinished" "$folder"
}

# write_prometheus_config FILE SERVER_PORT GATEWAY_PORT: writes deploy/prometheus/prometheus.yml with these ports, the
# rules' whole paths, and an interval for people who look at a shop for minutes.
write_prometheus_config() {
    sed -e "s|127\.0\.0\.1:9464|127.0.0.1:$2|" -e "s|127\.0\.0\.1:9465|127.0.0.1:$3|" \
        -e "s|^  - \(.*\.yml\)$|  - $REPOSITORY/deploy/prometheus/\1|" \
        -e 's|_interval: 15s|_interval: 5s|' -e "s|runbook: .*|runbook: file://$REPOSITORY/docs/runbook.md|" \
        "$REPOSITORY/deploy/prometheus/prometheus.yml" >"$1"
}

# start_prometheus FOLDER SERVER_PORT GATEWAY_PORT: starts PROMETHEUS on these pages of metrics, with its data in FOLDER
# and its log in FOLDER.log. Sets PROMETHEUS_PID and PROMETHEUS_PORT. Fails where it isn't ready within 30 s.
start_prometheus() {
    local folder=$1 tenths
    mkdir -p "$folder"
    : >"$folder.log"
    write_prometheus_config "$folder/prometheus.yml" "$2" "$3"
    free_port 9090
    PROMETHEUS_PORT=$PORT
    start_process "$folder.log" "$PROMETHEUS" --config.file="$folder/prometheus.yml" --storage.tsdb.path="$folder/data" \
        --storage.tsdb.retention.time=2d --web.listen-address="127.0.0.1:$PROMETHEUS_PORT"
    PROMETHEUS_PID=$PID
    for ((tenths = 0; tenths < 300; tenths++)); do
        [ "$(http_status "$PROMETHEUS_PORT" /-/ready)" != 200 ] || return 0
        is_running "$PROMETHEUS_PID" || break
        sleep 0.1
    done
    show_tail "$folder.log"
    return 1
}
