"""How the scripts of the child processes begin."""

SHOP = """\
    def app(environ, start_response):
        start_response("200 OK", [("Content-Type", "text/plain")])
        if environ["PATH_INFO"] == "/buy":
            return [b"bought"]
        return [b"home"]
"""
START = """
    import json
    import threading
    from concurrent.futures import ThreadPoolExecutor
    from wsgiref.validate import validator

    import coverage
    from wsgi_calls import BROWSER, JSON, PREFIX, call, executed
    from wsgi_coverage import CoverageMiddleware, SettingsError, start_early

    def ours():
        return [each for each in threading.enumerate() if each.name == "wsgi-coverage"]

"""
WRAPPED = f"""{START}
    import shop
    app = CoverageMiddleware(validator(shop.app), debug=True)
    call(app, "GET", "/buy")

    def ask(method, path, *args, **keywords):
        return call(app, method, PREFIX + path, *args, **keywords)

"""
