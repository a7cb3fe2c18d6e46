"""One screen of a sale, renewed once a second: plain ANSI, so that it works over ssh."""

import datetime
import time
import urllib.error
import urllib.request

import grpc
from rich.console import Group
from rich.live import Live
from rich.text import Text

from sale_day.api import PAGE_SIZE, call, pb, refusal, why
from sale_day.show import clean, money, plain

SECOND = 1.0
DEADLINE_SECONDS = 2
BAR_WIDTH = 60
# How often the unpaid orders are read, and how many pages of them: they are many, and the oldest is the last.
OLDEST_EVERY_SECONDS = 10
OLDEST_PAGES_MAX = 20
METRICS_BYTES_MAX = 4_000_000
HOLDS = "flashsale_hold_requests_total"
LAST_SWEEP = "flashsale_sweeper_last_success_timestamp_seconds"
# The states of units with their places in the bar: name, colour, and signs in UTF-8 and in ASCII.
STATES = (
    ("paid", "paid_stock", "green", "█", "#"),
    ("owed for", "pending_stock", "yellow", "▓", "="),
    ("held", "held_stock", "cyan", "▒", "-"),
    ("available", "available_stock", "white", "░", "."),
)


def span(seconds):
    """Returns a length of time in its two largest units: 1 h 5 min."""
    seconds = max(0, int(seconds))
    parts = []
    for unit, length in (("d", 86_400), ("h", 3600), ("min", 60), ("s", 1)):
        if seconds >= length or unit == "s" and not parts:
            parts.append(f"{seconds // length} {unit}")
            seconds %= length
    return " ".join(parts[:2])


def seconds_to(timestamp, now):
    return timestamp.seconds + timestamp.nanos / 1e9 - now


def tenths(value):
    return None if value is None else round(value, 1)


def read_metrics(url):
    """Returns what the server's page of metrics says of holds and sweeps, or None where it can't be read."""
    try:
        # A machine's proxy knows nothing of a server's metrics.
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(url, timeout=DEADLINE_SECONDS) as page:
            text = page.read(METRICS_BYTES_MAX).decode(errors="replace")
    except (OSError, ValueError, urllib.error.URLError):
        return None
    refused, last_sweep = 0.0, None
    for line in text.splitlines():
        name, _, value = line.rpartition(" ")
        if name.startswith(HOLDS + "{") and not any(f'"{done}"' in name for done in ("created", "replayed")):
            refused += float(value)
        elif name == LAST_SWEEP or name.startswith(LAST_SWEEP + "{"):
            last_sweep = float(value) or None
    return {"refused": refused, "last_sweep": last_sweep}


class Watch:
    """Reads a sale again and again, and remembers what it needs for a rate."""

    def __init__(self, api, options):
        self.api, self.product_id, self.metrics = api, options.product, options.metrics
        self.before, self.oldest, self.oldest_at = None, None, None

    def call(self, method, request):
        return call(method, request, tries=1, deadline=DEADLINE_SECONDS)

    def look(self):
        """Returns all that the screen shows."""
        product = self.call(self.api.sale.GetProduct, pb.GetProductRequest(product_id=self.product_id)).product
        books = self.call(self.api.admin.GetSaleStats, pb.GetSaleStatsRequest(product_id=self.product_id))
        request = pb.ListPaymentExceptionsRequest(product_id=self.product_id, page_size=PAGE_SIZE)
        exceptions = self.call(self.api.admin.ListPaymentExceptions, request)
        metrics = read_metrics(self.metrics) if self.metrics else None
        now = time.time()
        made = books.holds_active + books.holds_used + books.holds_expired + books.holds_cancelled
        refused = metrics["refused"] if metrics else None
        last_sweep = metrics["last_sweep"] if metrics else None
        granted_rate, refused_rate = self.rates(now, made, refused)
        return {
            "product": plain(product),
            "stats": plain(books),
            "opens_in": self.until(product, "starts_at", now),
            "closes_in": self.until(product, "ends_at", now),
            "holds_granted_per_second": tenths(granted_rate),
            "holds_refused_per_second": tenths(refused_rate),
            "orders_waiting": books.orders_pending,
            "oldest_waits_seconds": tenths(self.oldest_wait(books.orders_pending, now)),
            "refunds_due": len(exceptions.exceptions),
            "more_refunds_due": bool(exceptions.next_page_token),
            "last_sweep_seconds_ago": tenths(now - last_sweep) if last_sweep else None,
            "metrics": "not asked" if not self.metrics else "read" if metrics else "can't be read",
        }

    @staticmethod
    def until(product, field, now):
        return tenths(seconds_to(getattr(product, field), now)) if product.HasField(field) else None

    def rates(self, now, made, refused):
        """Returns holds granted and refused a second since the look before. None: there was none, or it isn't known."""
        before, self.before = self.before, (now, made, refused)
        if before is None or now <= before[0]:
            return None, None
        seconds = now - before[0]
        # A purge takes holds out of the count, and a server that starts anew counts from 0.
        granted = max(0, made - before[1]) / seconds
        known = refused is not None and before[2] is not None
        return granted, max(0, refused - before[2]) / seconds if known else None

    def oldest_wait(self, pending, now):
        """Returns how many seconds ago the oldest unpaid order was made, as far as it has looked."""
        if not pending:
            self.oldest, self.oldest_at = None, None
            return None
        if self.oldest_at is None or now - self.oldest_at >= OLDEST_EVERY_SECONDS:
            request = pb.ListOrdersRequest(product_id=self.product_id, page_size=PAGE_SIZE)
            request.status = pb.ORDER_STATUS_PENDING
            self.oldest, self.oldest_at = None, now
            for _ in range(OLDEST_PAGES_MAX):
                page = self.call(self.api.admin.ListOrders, request)
                made = [order.created_at.seconds + order.created_at.nanos / 1e9 for order in page.orders]
                self.oldest = min([*made, *([self.oldest] if self.oldest else [])], default=None)
                if not page.next_page_token:
                    break
                request.page_token = page.next_page_token
        return now - self.oldest if self.oldest else None


def window(seen):
    """Says whether the sale is open, and until when."""
    opens, closes = seen["opens_in"], seen["closes_in"]
    if seen["product"]["paused"]:
        return "paused", "red"
    if opens is not None and opens > 0:
        return f"opens in {span(opens)}", "yellow"
    if closes is None:
        return "open, without an end", "green"
    return (f"open, closes in {span(closes)}", "green") if closes > 0 else (f"closed {span(-closes)} ago", "red")


def bar(stats, utf8):
    """Draws the stock by state. What there is any of has at least one sign."""
    total = stats["total_stock"]
    counts = [stats[field] for _, field, _, _, _ in STATES]
    widths = [max(1, count * BAR_WIDTH // total) if count else 0 for count in counts]
    # The largest part makes up for what was rounded.
    if total and sum(counts):
        widths[widths.index(max(widths))] += BAR_WIDTH - sum(widths)
    drawn, legend = Text("  "), Text("  ")
    for (name, field, colour, sign, ascii_sign), width in zip(STATES, widths):
        shown = sign if utf8 else ascii_sign
        drawn.append(shown * width, style=colour)
        legend.append(shown, style=colour)
        legend.append(f" {name} {stats[field]}   ")
    return drawn, legend


def rate(value, unknown):
    return unknown if value is None else f"{value:,.0f} a second"


# What to say where the metrics have no value.
UNKNOWN = {
    "not asked": "not known (ask with --metrics URL)",
    "can't be read": "not known (the page of metrics can't be read)",
    "read": "-",
}


def screen(seen, utf8):
    """Draws one screen."""
    product, stats, metrics = seen["product"], seen["stats"], seen["metrics"]
    state, colour = window(seen)
    name = f"product {product['product_id']} '{clean(product['name'])}', {money(product['price_cents'])}: "
    head = Text(name, style="bold").append(state, style=colour)
    clock = datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M:%SZ")
    refused = rate(seen["holds_refused_per_second"], UNKNOWN[metrics])
    waiting = str(seen["orders_waiting"])
    if seen["oldest_waits_seconds"] is not None:
        waiting += f", the oldest for {span(seen['oldest_waits_seconds'])}"
    sweep = "never" if metrics == "read" else UNKNOWN[metrics]
    if seen["last_sweep_seconds_ago"] is not None:
        sweep = f"{span(seen['last_sweep_seconds_ago'])} ago"
    facts = (
        ("holds granted", rate(seen["holds_granted_per_second"], "-"), ""),
        ("holds refused", refused + (", of all products by this server" if metrics == "read" else ""), ""),
        ("orders waiting for money", waiting, ""),
        ("refunds due", f"{seen['refunds_due']}{' or more' if seen['more_refunds_due'] else ''}",
         "red" if seen["refunds_due"] else ""),
        ("last sweep", sweep, ""),
    )
    lines = [Text(f"  {fact:<26}").append(value, style=style) for fact, value, style in facts]
    return Group(head, Text(f"  {clock}, {stats['total_stock']} units"), Text(), *bar(stats, utf8), Text(), *lines)


def watch(api, out, options):
    """Shows the sale until Ctrl-C, or once."""
    sale = Watch(api, options)
    utf8 = "utf" in out.console.encoding.lower()
    if options.once:
        # A rate needs two looks.
        sale.look()
        time.sleep(SECOND)
        seen = sale.look()
        if out.as_json:
            out.json(seen)
        else:
            out.console.print(screen(seen, utf8))
        return
    try:
        if out.as_json:
            every_second(sale, out.json, lambda error: out.json({"error": refusal(error)}))
            return
        with Live(console=out.console, screen=out.console.is_terminal, auto_refresh=False) as live:
            every_second(
                sale,
                lambda seen: live.update(screen(seen, utf8), refresh=True),
                lambda error: live.update(Text(f"no answer: {why(error)}"), refresh=True),
            )
    except KeyboardInterrupt:
        pass


def every_second(sale, show, complain):
    """Looks once a second. A server that is away for a while doesn't end it; a product that isn't there does."""
    due = time.monotonic()
    while True:
        try:
            show(sale.look())
        except grpc.RpcError as error:
            if error.code() in (grpc.StatusCode.NOT_FOUND, grpc.StatusCode.INVALID_ARGUMENT):
                raise
            complain(error)
        due = max(due + SECOND, time.monotonic())
        time.sleep(max(0.0, due - time.monotonic()))
