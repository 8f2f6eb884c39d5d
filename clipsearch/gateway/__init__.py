"""The gateway: Envoy before both services, for whoever speaks JSON over HTTP, gRPC or gRPC-web.

Its configuration is made here from the settings and the protos' own HTTP rules; nothing of a request passes
through Python. It imports the channel's credentials and the generated code, and no client.
"""
