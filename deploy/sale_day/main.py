"""Arguments, and the exit code."""

import argparse
import datetime
import json
import os
import sys
import uuid

import grpc

from sale_day import commands
from sale_day.api import DEFAULT_SERVER, TEMPORARY, Api, refusal, why
from sale_day.connection import ABOUT, connect
from sale_day.show import Output
from sale_day.watch import watch

TEXTS = ("name", "reason", "note", "buyer")


def or_none(kind):
    """Returns a parser that takes "none" for a value that is to be cleared."""

    def parse(text):
        return None if text == "none" else kind(text)

    parse.__name__ = kind.__name__
    return parse


def moment(text):
    """Parses a time such as 2025-11-28T09:00:00Z. A time without a zone is refused."""
    value = datetime.datetime.fromisoformat(text.replace("Z", "+00:00"))
    if value.tzinfo is None:
        raise argparse.ArgumentTypeError("needs a time zone, such as Z or +01:00")
    return value


def parser(doc):
    root = argparse.ArgumentParser(
        description=doc, epilog=ABOUT, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    root.add_argument(
        "--server", default=DEFAULT_SERVER, help=f"host:port, also by FLASHSALE_SERVER (default {DEFAULT_SERVER})"
    )
    root.add_argument("--json", action="store_true", help="print JSON, one object a line")
    subcommands = root.add_subparsers(dest="command", required=True)

    def command(name, run, about, *arguments):
        sub = subcommands.add_parser(name, help=about, description=about)
        sub.set_defaults(run=run)
        sub.add_argument("--json", action="store_true", default=argparse.SUPPRESS, help=argparse.SUPPRESS)
        for argument in arguments:
            sub.add_argument(argument, type=str if argument in TEXTS else int)
        return sub

    add_products(command)
    add_orders(command)
    add_payments(command)
    listing = command("actions", commands.actions, "list what operators did, newest first")
    listing.add_argument("--product", type=int)
    return root


def add_products(command):
    listing = command("products", commands.products, "list the products, newest first")
    listing.add_argument("--on-sale", action="store_true", help="only those on sale now")
    create = command("put-on-sale", commands.put_on_sale, "make a product", "name", "price_cents", "stock")
    create.add_argument("--max-per-buyer", type=int)
    create.add_argument("--starts-at", type=moment)
    create.add_argument("--ends-at", type=moment)
    change = command("update", commands.update, "change a product", "product")
    for option, kind in (
        ("--name", str),
        ("--price-cents", int),
        ("--max-per-buyer", or_none(int)),
        ("--starts-at", or_none(moment)),
        ("--ends-at", or_none(moment)),
    ):
        text = "or none" if kind not in (str, int) else None
        change.add_argument(option, type=kind, default=argparse.SUPPRESS, help=text)
    adjust = command("restock", commands.restock, "add units or take some away", "product", "delta", "reason")
    for repeatable in (create, adjust):
        repeatable.add_argument("--request-id", default=str(uuid.uuid4()))
    command("pause", commands.pause, "refuse new holds", "product")
    command("resume", commands.pause, "take new holds again", "product")
    command("stats", commands.stats, "show the books of a product", "product")
    show = command("watch", watch, "show a sale, once a second until Ctrl-C", "product")
    show.add_argument("--metrics", metavar="URL", help="a server's page of metrics, for what it refuses and the sweep")
    show.add_argument("--once", action="store_true", help="show one screen and end")


def add_orders(command):
    listing = command("orders", commands.orders, "list the orders of a product", "product")
    listing.add_argument("--status", choices=("pending", "paid", "cancelled"))
    listing.add_argument("--buyer")
    listing.add_argument("--settled-after", type=moment, help="only those paid or cancelled after it, oldest first")
    owed = command("owed", commands.owed, "list the orders that wait for money", "product")
    owed.add_argument("--overdue", action="store_true", help="only those past their time")
    find = command("find", commands.find, "list the holds and orders of a buyer", "buyer")
    find.add_argument("--product", type=int, help="of this product only")
    command("cancel", commands.cancel, "cancel an order that isn't paid", "order")


def add_payments(command):
    listing = command("refunds", commands.refunds, "list the payments that need a person")
    listing.add_argument("--product", type=int)
    listing.add_argument("--all", action="store_true", help="also those that are resolved")
    command("accept", commands.accept, "take a payment of another amount as it is", "exception", "note")
    command("resolve", commands.resolve, "write down what was done about a payment", "exception", "note")


def fail(options, text, **details):
    """Ends the program with exit code 1: the text, or a JSON object, on standard error."""
    sys.exit(json.dumps(details or {"message": text}, ensure_ascii=False) if options.json else text)


def main(doc):
    options = parser(doc).parse_args()
    # A terminal that knows ASCII only shows ? for the rest.
    sys.stdout.reconfigure(errors="replace")
    try:
        channel = connect(options.server)
    except ValueError as error:
        fail(options, str(error))
    with channel:
        try:
            options.run(Api(channel), Output(options.json), options)
        except grpc.RpcError as error:
            text, details = why(error), refusal(error)
            if error.code() in TEMPORARY and hasattr(options, "request_id"):
                details["request_id"] = options.request_id
                text += f"\nRun it again with --request-id {options.request_id}"
            fail(options, text, **details)
        except (ValueError, commands.Failed) as error:
            fail(options, str(error))
        except BrokenPipeError:
            # Whoever read it, such as `head`, has seen enough.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
