#!/usr/bin/env python3
"""What an operator does on sale day: put on sale, restock, pause, look, cancel, refund.

    python3 -m venv target/venv && target/venv/bin/pip install -r deploy/requirements.txt
    PATH=$PWD/target/venv/bin:$PATH
    deploy/sale_day.py put-on-sale "Sneaker" 9900 100 --max-per-buyer 2
    deploy/sale_day.py products
    deploy/sale_day.py update 2 --price-cents 8900 --max-per-buyer none
    deploy/sale_day.py restock 2 50 "second pallet" --request-id pallet-2
    deploy/sale_day.py pause 2
    deploy/sale_day.py stats 2
    deploy/sale_day.py watch 2 --metrics http://127.0.0.1:9464/metrics
    deploy/sale_day.py orders 2 --status paid
    deploy/sale_day.py owed 2
    deploy/sale_day.py find ann@example.com
    deploy/sale_day.py cancel 7
    deploy/sale_day.py refunds
    deploy/sale_day.py accept 1 "a cent off"
    deploy/sale_day.py resolve 2 "refunded as re_17"
    deploy/sale_day.py actions

It is a client of the gRPC services and nothing more. Every command may be repeated. `put-on-sale` and `restock` are
repeatable by their request id. Without --request-id the script makes one up, and prints it if the answer is lost: the
same command with that id tells what became of it.

With --json before the command it prints one JSON object a line: one for each entry of a list, and the names of the
proto. A failure is a JSON object on standard error.

Exit code: 0 done, 1 refused or failed, 2 wrong arguments.
"""

from sale_day import main

if __name__ == "__main__":
    main.main(__doc__)
