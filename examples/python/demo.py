"""A token of every vendor, and a call of the vendor's API with it: what a Python program does with qauth.

    QAUTH_CONFIG=qauth.toml python demo.py

Prints a line per vendor: its name, how many seconds the token lives, the status of the API call.
"""

import sys

import qauth

VENDORS = {
    "quantaprice": "/prices?sku=PRODUCT-001",
    "quiqup": "/orders",
    "quable": "/api/products",
    "quartile": "/reports",
    "qpay": "/cards",
}


def main() -> None:
    engine = qauth.Engine.discover()
    for vendor, path in VENDORS.items():
        source = engine.source(vendor)
        lifetime = source.token().expires_in or 0
        response = source.request("GET", path)
        print(vendor, round(lifetime), response.status)


if __name__ == "__main__":
    try:
        main()
    except qauth.Error as error:
        sys.exit(str(error))
