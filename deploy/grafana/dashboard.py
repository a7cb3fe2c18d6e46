#!/usr/bin/env python3
"""Makes the dashboard of a sale, dashboards/flashsale.json, and prints it; --write writes the file.

It needs the package grafana-foundation-sdk, which .ci/requirements.txt pins. Its queries use the recording rules of
deploy/prometheus/rules.yml. Change the dashboard here, not in Grafana: CI makes it anew and compares.
"""

import pathlib
import sys

from grafana_foundation_sdk.builders import common, prometheus, stat, timeseries
from grafana_foundation_sdk.builders.dashboard import (
    Dashboard,
    DatasourceVariable,
    QueryVariable,
    Row,
    ThresholdsConfig,
)
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.common import (
    BigValueColorMode,
    BigValueGraphMode,
    LegendDisplayMode,
    LegendPlacement,
    SortOrder,
    StackingMode,
    TooltipDisplayMode,
    VisibilityMode,
)
from grafana_foundation_sdk.models.dashboard import (
    DashboardCursorSync,
    DataSourceRef,
    DynamicConfigValue,
    Threshold,
    ThresholdsMode,
    VariableRefresh,
    VariableSort,
)

FILE = pathlib.Path(__file__).parent / "dashboards/flashsale.json"
SOURCE = DataSourceRef(type_val="prometheus", uid="$datasource")
HEIGHT = 8
RATE = "[$__rate_interval]"
GREEN, YELLOW, BLUE, GREY, RED = "green", "yellow", "blue", "#8e8e8e", "red"


class Panels:
    """Adds panels to a dashboard, and numbers them."""

    def __init__(self, dashboard):
        self.dashboard, self.count = dashboard, 0

    def row(self, title):
        self.dashboard.with_row(Row(title))

    def _add(self, panel, title, about, unit, width, queries):
        self.count += 1
        panel.id(self.count).title(title).description(about).datasource(SOURCE).unit(unit).span(width)
        for letter, (legend, query) in zip("ABCDEF", queries.items()):
            panel.with_target(prometheus.Dataquery().ref_id(letter).expr(query).legend_format(legend).range())
        self.dashboard.with_panel(panel)

    def lines(self, title, about, unit, queries, *, width=8, stacked=False, beside=(), colours=None):
        """Adds a panel of lines over time. `queries` maps legends to queries; `beside` are those not stacked."""
        legend = common.VizLegendOptions().display_mode(LegendDisplayMode.LIST).placement(LegendPlacement.BOTTOM)
        panel = (
            timeseries.Panel().height(HEIGHT).min(0).line_width(1).show_points(VisibilityMode.NEVER)
            .legend(legend.show_legend(True).calcs([]))
            .tooltip(common.VizTooltipOptions().mode(TooltipDisplayMode.MULTI).sort(SortOrder.DESCENDING))
        )
        if stacked:
            panel.stacking(common.StackingConfig().mode(StackingMode.NORMAL)).fill_opacity(60).line_width(0)
        for name, colour in (colours or {}).items():
            panel.override_by_name(name, [DynamicConfigValue("color", {"mode": "fixed", "fixedColor": colour})])
        for name in beside:
            alone = {"custom.stacking": {"mode": "none"}, "custom.fillOpacity": 0, "custom.lineWidth": 2}
            panel.override_by_name(name, [DynamicConfigValue(id_val, value) for id_val, value in alone.items()])
        self._add(panel, title, about, unit, width, queries)

    def number(self, title, about, unit, query, *, bad_above=None, bad_below=None):
        """Adds a panel with the last value of a query, red above or below a limit."""
        steps = [Threshold(value=None, color=GREEN)]
        if bad_above is not None:
            steps.append(Threshold(value=bad_above, color=RED))
        if bad_below is not None:
            steps = [Threshold(value=None, color=RED), Threshold(value=bad_below, color=GREEN)]
        panel = (
            stat.Panel().height(4).graph_mode(BigValueGraphMode.NONE).color_mode(BigValueColorMode.VALUE)
            .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
            .thresholds(ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE).steps(steps))
        )
        self._add(panel, title, about, unit, 4, {"": query})


def quantile(q, metric, by, selector=""):
    """Returns the query for a quantile of a histogram, by one label or none."""
    labels = f"le, {by}" if by else "le"
    return f"histogram_quantile({q}, sum by ({labels}) (rate({metric}_bucket{selector}{RATE})))"


def quantiles(metric):
    return {f"{name} of 100": quantile(q, metric, None) for name, q in (("50", 0.5), ("95", 0.95), ("99", 0.99))}


def at_a_glance(panels):
    stock = 'sum(flashsale:stock_usage:units{{product_id=~"$product", state="{}"}})'
    panels.number("Units available", "What a buyer could get now.", "short", stock.format("available"))
    panels.number("Units paid", "What is sold and paid.", "short", stock.format("paid"))
    panels.number(
        "Refunds due", "Payments that their orders couldn't take: deploy/sale_day.py refunds.", "short",
        "sum(max by (kind) (flashsale_payment_exception_open))", bad_above=1,
    )
    panels.number(
        "Programs ready", "Servers and gateways that say they are ready.", "short", "sum(flashsale_serving)",
        bad_below=1,
    )
    panels.number(
        "Calls that failed", "The worse of what servers and gateways see, in five minutes.", "percentunit",
        "max(flashsale:failed_calls:ratio_rate5m)", bad_above=0.001,
    )
    panels.number(
        "Last sweep", "How long ago a sweep ended well.", "s",
        "time() - max(flashsale_sweeper_last_success_timestamp_seconds)", bad_above=300,
    )


def the_sale(panels):
    panels.row("The sale")
    panels.lines(
        "Stock by state", "Units of the products chosen above; together they are the total.", "short",
        {
            # From the ground up.
            **{
                state: f'sum(flashsale:stock_usage:units{{product_id=~"$product", state="{state}"}})'
                for state in ("paid", "pending", "held", "available")
            },
            "total": 'sum(flashsale:stock_limit:units{product_id=~"$product"})',
        },
        stacked=True, beside=("total",),
        colours={"paid": GREEN, "pending": YELLOW, "held": BLUE, "available": GREY, "total": RED},
    )
    panels.lines(
        "Holds granted and refused", "Answers to CreateHold a second: created, replayed, or why not.", "reqps",
        {"{{outcome}}": f"sum by (outcome) (rate(flashsale_hold_requests_total{RATE})) > 0"},
        colours={"created": GREEN, "replayed": BLUE, "out_of_stock": GREY},
    )
    panels.lines(
        "Hold, order, paid", "How many a second get how far.", "reqps",
        {
            "held": f'sum(rate(flashsale_hold_requests_total{{outcome="created"}}{RATE}))',
            "ordered": f'sum(rate(flashsale_order_transitions_total{{state="pending"}}{RATE}))',
            "paid": f'sum(rate(flashsale_order_transitions_total{{state="paid"}}{RATE}))',
            "cancelled": f'sum(rate(flashsale_order_transitions_total{{state="cancelled"}}{RATE}))',
        },
        colours={"held": BLUE, "ordered": YELLOW, "paid": GREEN, "cancelled": RED},
    )


def payments(panels):
    panels.row("Payments")
    panels.lines(
        "Webhooks by outcome", "What became of payment webhooks, a second.", "reqps",
        {"{{outcome}}": f"sum by (outcome) (rate(flashsale_webhook_duration_seconds_count{RATE})) > 0"},
        colours={"applied": GREEN, "replayed": BLUE, "failed": RED},
    )
    panels.lines(
        "Webhook latency", "How long the servers take for a webhook: 50, 95 and 99 of 100 are faster.", "s",
        quantiles("flashsale_webhook_duration_seconds"),
    )
    panels.lines(
        "Refunds due and bad signatures",
        "Payments for a person to look at, and webhooks without a good signature a minute.", "short",
        {
            "{{kind}}": "max by (kind) (flashsale_payment_exception_open)",
            "signature: {{cause}}":
                f"sum by (cause) (rate(flashsale_webhook_signature_failures_total{RATE})) * 60 > 0",
        },
    )


def calls(panels):
    panels.row("Calls and errors")
    by_status = "http_response_status_code"
    answers = "http_server_request_duration_seconds"
    faults = f'rpc_server_call_duration_seconds_count{{error_type!=""}}{RATE}'
    panels.lines(
        "RPCs by method", "Calls that the servers answered, a second.", "reqps",
        {"{{rpc_method}}": f"sum by (rpc_method) (rate(rpc_server_call_duration_seconds_count{RATE})) > 0"},
    )
    panels.lines(
        "RPC latency, 99 of 100", "99 of 100 calls of a method are faster.", "s",
        {"{{rpc_method}}": quantile(0.99, "rpc_server_call_duration_seconds", "rpc_method")},
    )
    panels.lines(
        "Refusals by reason", "What callers were refused, a second, of all RPCs.", "reqps",
        {"{{reason}}": f"sum by (reason) (rate(flashsale_refusals_total{RATE})) > 0"},
    )
    panels.lines(
        "Gateway answers by status", "HTTP answers a second.", "reqps",
        {f"{{{{{by_status}}}}}": f"sum by ({by_status}) (rate({answers}_count{RATE})) > 0"}, width=6,
    )
    panels.lines(
        "Gateway latency, 99 of 100", "99 of 100 requests of a route are faster.", "s",
        {"{{http_route}}": quantile(0.99, answers, "http_route")}, width=6,
    )
    panels.lines(
        "Failed calls",
        "The share of calls that failed by the shop's own fault, in five minutes. A gateway also sees those that reached "
        "no server.", "percentunit", {"{{seen_by}}": "flashsale:failed_calls:ratio_rate5m"}, width=6,
    )
    panels.lines(
        "RPC errors", "Calls that failed by a server's fault, a second.", "reqps",
        {
            "{{rpc_method}} {{rpc_status_code}}":
                f"sum by (rpc_method, rpc_status_code) (rate({faults})) > 0"
        },
        width=6,
    )


def lanes(panels):
    panels.row("Lanes and database")
    panels.lines(
        "Calls in a batch", "How many calls share a transaction, on average.", "short",
        {
            "{{lane}}": f"sum by (lane) (rate(flashsale_lane_batch_size_sum{RATE})) "
            f"/ (sum by (lane) (rate(flashsale_lane_batch_size_count{RATE})) > 0)"
        },
    )
    panels.lines(
        "Wait in a lane, 99 of 100", "How long calls wait for their batch: 99 of 100 wait less.", "s",
        {"{{lane}}": quantile(0.99, "flashsale_lane_wait_seconds", "lane")},
    )
    panels.lines(
        "Calls waiting in a lane", "More than FLASHSALE_LANE_QUEUE are refused as OVERLOADED.", "short",
        {
            "{{lane}}": "sum by (lane) (flashsale_lane_queue_length) "
            f"and on (lane) (sum by (lane) (rate(flashsale_lane_batch_size_count{RATE})) > 0)"
        },
    )
    panels.lines(
        "Transaction time, 99 of 100", "99 of 100 transactions of a name are faster.", "s",
        {"{{db_operation_name}}": quantile(0.99, "db_client_operation_duration_seconds", "db_operation_name")},
    )
    panels.lines(
        "Database connections", "Of all servers' pools, and the calls that wait for one.", "short",
        {
            "{{db_client_connection_state}}": "sum by (db_client_connection_state) (db_client_connection_count)",
            "most": "sum(db_client_connection_max)",
            "waiting": "sum(db_client_connection_pending_requests)",
        },
    )
    panels.lines(
        "Conflicts and reruns", "Deadlocks and lock waits, transactions that ran again, and waits for a connection "
        "that were too long, a minute.", "short",
        {
            "{{kind}}": f"sum by (kind) (rate(flashsale_db_lock_conflicts_total{RATE})) * 60 > 0",
            "run again: {{reason}}": f"sum by (reason) (rate(flashsale_transaction_retries_total{RATE})) * 60 > 0",
            "no connection": f"sum(rate(db_client_connection_timeouts_total{RATE})) * 60 > 0",
        },
    )


def tidying(panels):
    panels.row("Sweeper, audit, programs")
    panels.lines(
        "Still to be swept", "Holds and orders that are past their time.", "short",
        {"holds": "max(flashsale_hold_overdue)", "orders": "max(flashsale_order_overdue)"},
    )
    panels.lines(
        "Swept", "What sweeps did, a minute. All servers show the same totals.", "short",
        {
            "holds expired": f"max(rate(flashsale_sweeper_holds_expired_total{RATE})) * 60",
            "orders cancelled": f"max(rate(flashsale_sweeper_orders_cancelled_total{RATE})) * 60",
            "units released": f"max(rate(flashsale_sweeper_stock_released_total{RATE})) * 60",
            "sweeps": f"max(rate(flashsale_sweeper_runs_total{RATE})) * 60",
        },
    )
    panels.lines(
        "Oldest overdue hold and last sweep", "How long ago the oldest hold ran out that isn't swept, and a sweep "
        "ended well.", "s",
        {
            "oldest hold": "max(flashsale_hold_overdue_oldest_seconds)",
            "last sweep": "time() - max(flashsale_sweeper_last_success_timestamp_seconds > 0)",
        },
    )
    panels.lines(
        "Memory", "Of each program.", "bytes", {"{{job}} {{instance}}": "process_resident_memory_bytes"},
    )
    panels.lines(
        "Processor", "Cores that each program uses, over two minutes.", "short",
        {"{{job}} {{instance}}": "rate(process_cpu_seconds_total[2m])"},
    )
    panels.lines(
        "Connections and lost log lines", "Open connections, those refused and log lines dropped a minute.", "short",
        {
            "open: {{job}}": "sum by (job) (flashsale_connections)",
            "refused: {{job}}": f"sum by (job) (rate(flashsale_connections_refused_total{RATE})) * 60",
            "lines dropped: {{job}}": f"sum by (job) (rate(flashsale_log_lines_dropped_total{RATE})) * 60",
        },
    )


def dashboard():
    """Builds the dashboard."""
    product = (
        QueryVariable("product").label("Product").datasource(SOURCE)
        .query("label_values(flashsale_stock_limit, product_id)")
        .refresh(VariableRefresh.ON_TIME_RANGE_CHANGED).sort(VariableSort.NUMERICAL_ASC)
        .multi(True).include_all(True).all_value(".*")
    )
    board = (
        Dashboard("Flash sale").uid("flashsale").tags(["flashsale"]).readonly()
        .description("A sale and the programs that run it. Made by deploy/grafana/dashboard.py of flashsale.")
        .time("now-1h", "now").refresh("10s").tooltip(DashboardCursorSync.CROSSHAIR)
        .with_variable(DatasourceVariable("datasource").label("Prometheus").type("prometheus"))
        .with_variable(product)
    )
    panels = Panels(board)
    for part in (at_a_glance, the_sale, payments, calls, lanes, tidying):
        part(panels)
    return JSONEncoder(sort_keys=True, indent=2).encode(board.build()) + "\n"


if __name__ == "__main__":
    if sys.argv[1:] == ["--write"]:
        FILE.write_text(dashboard())
    elif sys.argv[1:]:
        sys.exit(__doc__)
    else:
        print(dashboard(), end="")
