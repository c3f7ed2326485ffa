"""Which forms come from the page itself, by what browsers say."""

import pytest
from aiohttp.test_utils import make_mocked_request

from heed.gateway.approvals.cross_site import check_same_site
from heed.gateway.refusals import RequestRefused

URL = "https://user@Heed.example.com:8443/base"


def is_refused(url: str | None = None, host: str = "inner:8090", **headers: str) -> bool:
    """Whether a form is; `Sec_Fetch_Site` stands for that header."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    request = make_mocked_request("POST", "/v1/approvals/x", headers={"Host": host, **named})
    try:
        check_same_site(request, url)
    except RequestRefused as refused:
        return (refused.status, refused.code) == (403, "CrossSite")
    return False


def test_what_says_nothing_is_no_browser() -> None:
    assert not is_refused()
    assert not is_refused(URL)


@pytest.mark.parametrize("site", ["cross-site", "same-site", "none", ""])
def test_another_site_is_refused_whatever_its_origin(site: str) -> None:
    assert is_refused(Sec_Fetch_Site=site, Origin="http://inner:8090")


def test_the_host_that_was_asked_for_is_its_own_in_any_spelling() -> None:
    assert not is_refused(Sec_Fetch_Site="same-origin", Origin="http://inner:8090")
    assert not is_refused(Origin="HTTPS://INNER:8090")
    assert not is_refused(host="Inner:8090", Origin="http://inner:8090")
    assert is_refused(Origin="http://inner")
    assert is_refused(Origin="http://inner:8091")


def test_behind_a_proxy_the_gateways_url_says_what_people_ask_for() -> None:
    assert not is_refused(URL, Origin="https://heed.example.com:8443")
    assert not is_refused(URL, Origin="http://inner:8090")
    assert is_refused(Origin="https://heed.example.com:8443")
    assert is_refused(URL, Origin="https://heed.example.com")
    assert is_refused(URL, Origin="https://heed.example.com:8443.evil.example")


@pytest.mark.parametrize("origin", ["null", "", "inner:8090", "http://[", "//", "file://"])
def test_an_origin_that_names_no_host_is_refused(origin: str) -> None:
    for url in (None, "", "null", URL):
        assert is_refused(url, Origin=origin)
