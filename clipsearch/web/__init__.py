"""The search page: a small web server over the Python client, for people with a browser.

It holds no state but the connections to the services. It imports no service, only the client.
"""
