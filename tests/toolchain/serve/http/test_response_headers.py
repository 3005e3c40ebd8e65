import base64
import hashlib
import re

from toolchain.serve.http.response_headers import DOCS_FILES, docs_page, security_headers


def test_only_the_files_of_the_docs_page_may_be_cached():
    assert (b"cache-control", b"no-store") in security_headers("/predict")
    assert (b"cache-control", b"no-store") not in security_headers(f"{DOCS_FILES}/swagger-ui.css")
    assert (b"x-content-type-options", b"nosniff") in security_headers(f"{DOCS_FILES}/swagger-ui.css")


def test_the_docs_page_may_run_its_scripts_and_no_other():
    page = docs_page("reviews")
    policy = page.headers["content-security-policy"]
    (script,) = re.findall(rb"<script>(.*?)</script>", bytes(page.body), re.DOTALL)
    assert f"'sha256-{base64.b64encode(hashlib.sha256(script).digest()).decode()}'" in policy
    assert "default-src 'none'" in policy
    assert b"https://" not in bytes(page.body), "it loads nothing from elsewhere"
