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
    import sys
    import threading
    from concurrent.futures import ThreadPoolExecutor
    from wsgiref.validate import validator

    import coverage
    from wsgi_calls import BROWSER, JSON, PREFIX, call, executed
    from wsgi_coverage import CoverageMiddleware, SettingsError, start_early
    from wsgi_coverage.collect import forks

    def ours():
        # what measures here: a tool of sys.monitoring, or the thread that flushes a tracer
        monitoring = getattr(sys, "monitoring", None)
        tools = [monitoring.get_tool(each) for each in range(6)] if monitoring else []
        threads = [each.name for each in threading.enumerate()]
        return [each for each in (*tools, *threads) if each == "wsgi-coverage"]

"""
WRAPPED = f"""{START}
    import shop
    app = CoverageMiddleware(validator(shop.app), debug=True)
    call(app, "GET", "/buy")

    def ask(method, path, *args, **keywords):
        return call(app, method, PREFIX + path, *args, **keywords)

"""
