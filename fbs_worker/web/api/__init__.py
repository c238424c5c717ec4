"""The HTTP API: the faces' words over HTTP, with tokens, problem details and an OpenAPI document.

`fbs_worker.web.app.create_app` makes the application, `fbs_worker.web.server.run_api` serves it. It needs the extra
`api`; nothing else in `fbs_worker` imports it but its command.
"""
