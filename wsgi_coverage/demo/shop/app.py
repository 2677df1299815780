"""The shop as a plain WSGI application: routes, pages, a basket in a cookie.

Concurrency: immutable after import; what customers change is in wsgi_coverage.demo.shop.stock.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import jinja2
from werkzeug.exceptions import HTTPException, NotFound
from werkzeug.routing import Map, Rule
from werkzeug.utils import redirect
from werkzeug.wrappers import Request, Response

from wsgi_coverage.demo.shop import catalogue, pricing, sales, stock
from wsgi_coverage.demo.shop.basket import Basket
from wsgi_coverage.demo.shop.catalogue import Product

COOKIE = "basket"


def shelf(request: Request, kind: str = "") -> Response:
    """All products, or those of one kind; 404 for a kind that there is not."""
    products = catalogue.of_kind(kind) if kind else list(catalogue.PRODUCTS)
    if not products:
        raise NotFound
    return page(request, "shelf.html", products=products, chosen=kind)


def product(request: Request, slug: str) -> Response:
    """One product, and how many of it are left."""
    shown = _product(slug)
    return page(request, "product.html", product=shown, left=stock.left(slug))


def search(request: Request) -> Response:
    """Products by the words of `q`; redirects to the product where there is only one."""
    words = request.args.get("q", "")
    found = catalogue.search(words)
    if len(found) == 1:
        return redirect(f"/product/{found[0].slug}", 303)
    return page(request, "shelf.html", products=found, words=words)


def basket(request: Request) -> Response:
    """The basket and its price, with the discount code of `code`."""
    code = request.args.get("code", "")
    held = _basket(request)
    return page(
        request, "basket.html", lines=list(held), code=code, quote=pricing.quote(held, code)
    )


def add(request: Request, slug: str) -> Response:
    """Put one of a product into the basket."""
    held = _basket(request)
    held.add(_product(slug))
    return _with_basket(redirect("/basket", 303), held)


def take_out(request: Request, slug: str) -> Response:
    """Take all of a product out of the basket."""
    held = _basket(request)
    held.take_out(_product(slug))
    return _with_basket(redirect("/basket", 303), held)


def checkout(request: Request) -> Response:
    """Order what is in the basket; 409 where something is sold out."""
    held = _basket(request)
    if not len(held):
        return redirect("/basket", 303)
    quote = pricing.quote(held, request.form.get("code", ""))
    try:
        stock.order(held)
    except stock.SoldOutError as error:
        return page(request, "message.html", status=409, title="Sold out", text=f"{error} is gone.")
    held.empty()
    text = f"{_money(quote.total)} to pay. It is on its way."
    return _with_basket(page(request, "message.html", title="Thank you", text=text), held)


def sales_report(request: Request) -> Response:
    """The owner's page on sales."""
    return page(request, "sales.html", **sales.report())


def sales_file(request: Request) -> Response:  # noqa: ARG001
    """All orders as CSV."""
    response = Response(sales.as_csv(stock.orders()), mimetype="text/csv")
    response.headers["Content-Disposition"] = "attachment; filename=sales.csv"
    return response


def restock(request: Request, slug: str) -> Response:
    """Put `count` more of a product on the shelf; 400 unless that is a number above 0."""
    shown = _product(slug)
    try:
        stock.restock(slug, int(request.form.get("count", "")))
    except ValueError as error:
        return page(request, "message.html", status=400, title="No", text=str(error))
    return redirect(f"/product/{shown.slug}", 303)


URLS = Map(
    [
        Rule("/", endpoint=shelf, methods=["GET"]),
        Rule("/kind/<kind>", endpoint=shelf, methods=["GET"]),
        Rule("/product/<slug>", endpoint=product, methods=["GET"]),
        Rule("/search", endpoint=search, methods=["GET"]),
        Rule("/basket", endpoint=basket, methods=["GET"]),
        Rule("/basket/add/<slug>", endpoint=add, methods=["POST"]),
        Rule("/basket/take-out/<slug>", endpoint=take_out, methods=["POST"]),
        Rule("/checkout", endpoint=checkout, methods=["POST"]),
        Rule("/admin/sales", endpoint=sales_report, methods=["GET"]),
        Rule("/admin/sales.csv", endpoint=sales_file, methods=["GET"]),
        Rule("/admin/restock/<slug>", endpoint=restock, methods=["POST"]),
    ]
)


def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """The shop as a WSGI application."""
    request = Request(environ)
    try:
        view, arguments = URLS.bind_to_environ(environ).match()
        response = view(request, **arguments)
    except NotFound:
        response = page(request, "message.html", status=404, title="Not here", text="No such page.")
    except HTTPException as error:
        return error(environ, start_response)
    answer: Iterable[bytes] = response(environ, start_response)
    return answer


def page(request: Request, template: str, *, status: int = 200, **values: Any) -> Response:
    """Render a template; every page has the number of products in the basket and the kinds."""
    held = _basket(request)
    text = TEMPLATES.get_template(template).render(
        in_basket=len(held), kinds=catalogue.kinds(), **values
    )
    return Response(text, status, mimetype="text/html")


def _product(slug: str) -> Product:
    found = catalogue.find(slug)
    if found is None:
        raise NotFound
    return found


def _basket(request: Request) -> Basket:
    return Basket.from_cookie(request.cookies.get(COOKIE, ""))


def _with_basket(response: Response, held: Basket) -> Response:
    response.set_cookie(COOKIE, held.to_cookie(), httponly=True, samesite="Lax")
    return response


def _money(cents: int) -> str:
    return f"{cents / 100:,.2f} €"


TEMPLATES = jinja2.Environment(
    loader=jinja2.PackageLoader("wsgi_coverage.demo.shop"), autoescape=True, trim_blocks=True
)
TEMPLATES.filters["money"] = _money
stock.prepare()
