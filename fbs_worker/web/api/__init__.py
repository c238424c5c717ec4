"""HTTP API: the operations of the client over HTTP, with bearer tokens, problem details and an OpenAPI document.

`fbs_worker.web.app.create_app` creates the application, `fbs_worker.web.server.run_api` serves it. It needs the extra
`api`.
"""
