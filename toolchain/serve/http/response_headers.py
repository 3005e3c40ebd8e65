"""Define the security headers of every response, and the page at /docs with its content security policy."""

import base64
import hashlib
import re

from fastapi.openapi.docs import get_swagger_ui_html
from starlette.responses import HTMLResponse

RawHeaders = list[tuple[bytes, bytes]]
DOCS_FILES = "/docs-files"
INLINE_SCRIPT = re.compile(rb"<script>(.*?)</script>", re.DOTALL)
ALWAYS: RawHeaders = [(b"x-content-type-options", b"nosniff")]
NO_STORE: RawHeaders = [*ALWAYS, (b"cache-control", b"no-store")]  # predictions and test rows may be private


def security_headers(path: str) -> RawHeaders:
    """Return the headers of every response to ``path``."""
    return ALWAYS if path.startswith(DOCS_FILES) else NO_STORE


def docs_page(title: str) -> HTMLResponse:
    """Return the page at /docs; its policy allows resources of this server and its own inline scripts only."""
    page = get_swagger_ui_html(
        openapi_url="/openapi.json",
        title=title,
        swagger_js_url=f"{DOCS_FILES}/swagger-ui-bundle.js",
        swagger_css_url=f"{DOCS_FILES}/swagger-ui.css",
        swagger_favicon_url=f"{DOCS_FILES}/favicon.png",
    )
    page.headers.update(_page_headers(bytes(page.body)))
    return page


def _page_headers(page: bytes) -> dict[str, str]:
    digests = [base64.b64encode(hashlib.sha256(script).digest()).decode() for script in INLINE_SCRIPT.findall(page)]
    policy = [
        "default-src 'none'",
        "script-src 'self' " + " ".join(f"'sha256-{digest}'" for digest in digests),
        "style-src 'self' 'unsafe-inline'",  # Swagger UI sets style attributes
        "img-src 'self' data:",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    ]
    return {
        "Content-Security-Policy": "; ".join(policy),
        "X-Frame-Options": "DENY",
        "Referrer-Policy": "no-referrer",
        "Cross-Origin-Opener-Policy": "same-origin",
    }
