"""Who may call: a real service that asks for keys, and clients with and without one."""

import json
import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from uuid import uuid4

import httpx
import numpy as np
import pytest
from huggingface_hub import InferenceClient
from huggingface_hub.errors import HfHubHTTPError
from tritonclient import http as triton
from tritonclient.utils import InferenceServerException

from tests.app import plain_http
from tests.app.keys.keys import line
from tests.conftest import RedisServer, Service, StartService, until

SHOP, SECOND, UNKNOWN, SPENT = "key-of-the-shop", "second-key-of-the-shop", "key-of-nobody", "spent-key"
MODEL = "distilbert-sst2-mini"
INFER = f"/v2/models/{MODEL}/infer"
BODY = {"text": ["A fine film."]}


@pytest.fixture(scope="module")
def keyed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service that knows a shop with two keys, and callers with limits, each for one test."""
    folder = tmp_path_factory.mktemp("keyed")
    file = folder / "keys"
    limits = (line("slow", "slow-key", "texts_per_second=4"), line("daily", "daily-key", "texts_per_day=6"))
    limits += (line("spent", SPENT, "texts_per_day=1"),)
    file.write_text("".join([line("shop", SHOP), line("shop", SECOND), *limits]))
    started = Service(folder / "service.log", VALENCE_DRAIN_SECONDS="0", VALENCE_API_KEYS_FILE=str(file))
    try:
        yield started.wait_ready()
    finally:
        started.stop()


def predict(service: Service, texts: int = 1, **headers: str) -> httpx.Response:
    """Ask for so many texts, with these headers (`_` for `-`)."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return plain_http.post(service.url + "/predict", json={"text": ["A fine film."] * texts}, headers=named)


def left(answer: httpx.Response) -> int:
    """How many texts the answer says are left of the day."""
    told = re.fullmatch(r'"day";r=(\d+);t=\d+', answer.headers["RateLimit"])
    assert told
    return int(told[1])


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"X_API_Key": UNKNOWN},
        {"X_API_Key": ""},
        {"Authorization": f"Bearer {UNKNOWN}"},
        {"Authorization": "Bearer"},
        {"Authorization": f"Basic {SHOP}"},
        {"Authorization": SHOP},
        {"X_API_Key": UNKNOWN, "Authorization": f"Bearer {SHOP}"},
    ],
)
def test_who_has_no_known_key_is_refused(keyed: Service, headers: dict[str, str]) -> None:
    """With 401, the scheme to use, an id, and no word of what was sent."""
    before = keyed.metric('valence_requests_rejected_total{reason="unauthorized"}')
    answer = predict(keyed, **headers)
    assert (answer.status_code, answer.headers["WWW-Authenticate"]) == (401, 'Bearer realm="valence"')
    ((detail),) = answer.json()["detail"]
    assert (detail["type"], detail["loc"]) == ("unauthorized", ["header"])
    assert UNKNOWN not in answer.text
    assert answer.headers["X-Request-ID"]
    assert keyed.metric('valence_requests_rejected_total{reason="unauthorized"}') == before + 1


@pytest.mark.parametrize(
    "headers",
    [
        {"X_API_Key": SHOP},
        {"X_API_Key": SECOND},
        {"Authorization": f"Bearer {SHOP}"},
        {"Authorization": f"bearer {SHOP}"},
    ],
)
def test_either_header_and_either_key_is_taken(keyed: Service, headers: dict[str, str]) -> None:
    """A caller without limits is told of none."""
    answer = predict(keyed, **headers)
    assert answer.status_code == 200
    assert not [name for name in answer.headers if name.startswith("ratelimit")]


@pytest.mark.parametrize(
    "path", ["/", "/static/page.js", "/health", "/livez", "/readyz", "/readyz/", "/docs", "/openapi.json"]
)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_what_tells_nothing_needs_no_key(keyed: Service, method: str, path: str) -> None:
    """Probes, the page with its files, the documentation."""
    assert plain_http.request(method, keyed.url + path).status_code == 200


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/predict/"),
        ("POST", "/"),
        ("GET", "/model/info"),
        ("GET", "/static/../model/info"),
        ("GET", "/static"),
        ("GET", "//health"),
        ("GET", "/none"),
        ("DELETE", "/health"),
    ],
)
def test_everything_else_needs_one(keyed: Service, method: str, path: str) -> None:
    """Routes that do not exist included."""
    with httpx.Client(transport=httpx.HTTPTransport()) as client:
        url = httpx.URL(keyed.url).copy_with(raw_path=path.encode())
        assert client.request(method, url).status_code == 401


def test_the_preflight_of_a_browser_needs_no_key(keyed: Service) -> None:
    """It can't bring one."""
    assert plain_http.request("OPTIONS", keyed.url + "/predict").status_code != 401


def test_openapi_tells_of_the_keys(keyed: Service, service: Service) -> None:
    """So that `/docs` has a field for one; without keys there is none."""
    described = plain_http.get(keyed.url + "/openapi.json").json()
    assert described["paths"]["/predict"]["post"]["security"] == [{"HTTPBearer": []}, {"APIKeyHeader": []}]
    assert "securitySchemes" not in plain_http.get(service.url + "/openapi.json").json()["components"]


def test_logs_and_metrics_have_the_name_and_never_the_key(keyed: Service) -> None:
    """Of whoever was admitted."""
    mine = str(uuid4())
    texts = keyed.metric('valence_key_texts_total{key="shop"}')
    assert predict(keyed, texts=3, X_API_Key=SHOP, X_Request_ID=mine).status_code == 200
    assert keyed.metric('valence_key_texts_total{key="shop"}') == texts + 3
    until(lambda: mine in keyed.log.read_text(), "the line is written")
    lines = [json.loads(entry) for entry in keyed.log.read_text().splitlines()]
    (entry,) = [entry for entry in lines if entry.get("request_id") == mine]
    assert (entry["key"], entry["texts"]) == ("shop", 3)
    assert SHOP not in keyed.log.read_text() + plain_http.get(keyed.metrics_url).text


def test_the_rate_is_kept(keyed: Service) -> None:
    """A batch takes more than is left; then 429, with the time after which a request is taken."""
    first = predict(keyed, texts=11, X_API_Key="slow-key")
    assert first.status_code == 200
    assert first.headers["RateLimit"] == '"rate";r=0;t=3'
    second = predict(keyed, X_API_Key="slow-key")
    assert (second.status_code, second.json()["detail"][0]["type"]) == (429, "rate_limited")
    assert int(second.headers["Retry-After"]) in {1, 2}
    assert second.headers["RateLimit-Policy"] == '"rate";q=4;w=1;qu="texts"'
    assert keyed.metric('valence_key_requests_limited_total{key="slow"}') >= 1
    until(lambda: predict(keyed, X_API_Key="slow-key").status_code == 200, "the bucket fills again")


def test_the_quota_is_kept(keyed: Service) -> None:
    """What is refused as wrong counts as one text, and what is refused by the quota as none."""
    headers = {"X-API-Key": "daily-key"}
    assert left(predict(keyed, texts=4, X_API_Key="daily-key")) == 2
    wrong = plain_http.post(keyed.url + "/predict", content=b"[", headers=headers)
    assert (wrong.status_code, left(wrong)) == (422, 1)
    assert left(plain_http.get(keyed.url + "/model/info", headers=headers)) == 0
    for _ in range(2):
        refused = predict(keyed, X_API_Key="daily-key")
        assert (refused.status_code, refused.json()["detail"][0]["type"]) == (429, "quota_used")
        assert refused.headers["RateLimit"] == f'"day";r=0;t={refused.headers["Retry-After"]}'
    assert keyed.metric('valence_key_texts_total{key="daily"}') == 6


def request_of(protocol: str, service: Service, key: str) -> httpx.Response:
    """A right request of this protocol."""
    path, body = {
        "ours": ("/predict", BODY),
        "tei": ("/predict", {"inputs": "A fine film."}),
        "huggingface": ("/", {"inputs": "A fine film."}),
        "v2": (INFER, {"inputs": [{"name": "text", "datatype": "BYTES", "shape": [1], "data": ["A fine film."]}]}),
    }[protocol]
    return plain_http.post(service.url + path, json=body, headers={"X-API-Key": key})


@pytest.mark.parametrize(
    ("protocol", "keys"),
    [
        ("ours", {"detail", "error", "error_type"}),
        ("tei", {"detail", "error", "error_type"}),
        ("huggingface", {"error"}),
        ("v2", {"error"}),
    ],
)
def test_each_protocol_is_refused_in_its_own_shape(keyed: Service, protocol: str, keys: set[str]) -> None:
    """Without a known key, and beyond what a key allows; where only the body tells two apart, in both shapes."""
    stranger = request_of(protocol, keyed, UNKNOWN)
    assert (stranger.status_code, stranger.json().keys()) == (401, keys)
    assert "this key is not known: send an API key as" in stranger.json()["error"]
    spent = request_of(protocol, keyed, SPENT)
    while spent.status_code == 200:
        spent = request_of(protocol, keyed, SPENT)
    assert (spent.status_code, spent.json().keys()) == (429, keys)
    assert "the 1 texts that spent may ask for in a day are used up" in spent.json()["error"]
    assert int(spent.headers["Retry-After"]) > 0
    if "error_type" in keys:
        assert (stranger.json()["error_type"], spent.json()["error_type"]) == ("Validation", "Overloaded")


def test_other_routes_of_a_protocol_are_refused_in_its_shape(keyed: Service) -> None:
    """The facts of the model; our own routes keep ours."""
    shapes = {"/info": {"error", "error_type"}, f"/v2/models/{MODEL}": {"error"}, "/model/info": {"detail"}}
    for path, keys in shapes.items():
        answer = plain_http.get(keyed.url + path)
        assert (answer.status_code, answer.json().keys()) == (401, keys)


def test_hugging_face_client_brings_a_key_and_is_told(keyed: Service) -> None:
    """As its token; its exception has our sentence."""
    assert InferenceClient(model=keyed.url, token=SHOP).text_classification("A fine film.")[0].label == "POSITIVE"
    request_of("ours", keyed, SPENT)
    for key, said in ((UNKNOWN, "this key is not known"), (SPENT, "may ask for in a day are used up")):
        client = InferenceClient(model=keyed.url, token=key)
        with pytest.raises(HfHubHTTPError, match=said):
            client.text_classification("A fine film.")


def test_triton_client_brings_a_key_and_is_told(keyed: Service) -> None:
    """As a header; its exception has our sentence."""
    client = triton.InferenceServerClient(keyed.url.removeprefix("http://"))
    text = triton.InferInput("text", [1], "BYTES")
    text.set_data_from_numpy(np.array(["A fine film."], dtype=object))
    answer = client.infer(MODEL, [text], headers={"X-API-Key": SHOP})
    assert answer.as_numpy("labels")[0][0] == b"POSITIVE"
    request_of("ours", keyed, SPENT)
    for key, said in ((UNKNOWN, "this key is not known"), (SPENT, "may ask for in a day are used up")):
        with pytest.raises(InferenceServerException, match=said):
            client.infer(MODEL, [text], headers={"X-API-Key": key})


def test_a_mounted_secret_is_read_again_when_it_changes(start_service: StartService, tmp_path: Path) -> None:
    """As the kubelet does it: `keys` leads through a link that is exchanged. A wrong file changes nothing."""

    def mount(version: str, text: str) -> None:
        (tmp_path / version).mkdir()
        (tmp_path / version / "keys").write_text(text)
        (tmp_path / "new").symlink_to(version)
        (tmp_path / "new").rename(tmp_path / "data")

    mount("1", line("old", "old-key"))
    (tmp_path / "keys").symlink_to("data/keys")
    started = start_service(VALENCE_API_KEYS_FILE=str(tmp_path / "keys")).wait_ready()
    assert [predict(started, X_API_Key=key).status_code for key in ("old-key", "new-key")] == [200, 401]
    mount("2", line("new", "new-key"))
    until(lambda: predict(started, X_API_Key="new-key").status_code == 200, "the new key is known")
    assert predict(started, X_API_Key="old-key").status_code == 401
    mount("3", "new new-key\n")
    until(lambda: "api_keys_not_read" in started.log.read_text(), "the log says what is wrong")
    assert "line 1: behind the name" in started.log.read_text()
    assert "new-key" not in started.log.read_text()
    assert predict(started, X_API_Key="new-key").status_code == 200


def test_a_wrong_file_stops_the_start(start_service: StartService, tmp_path: Path) -> None:
    """With one line."""
    started = start_service(VALENCE_API_KEYS_FILE=str(tmp_path / "none"))
    assert started.process.wait(300) == 1
    said = started.log.read_text()  # gunicorn says beside it that it starts
    assert f"error: VALENCE_API_KEYS_FILE='{tmp_path}/none': No such file or directory" in said
    assert "Traceback" not in said


def test_pods_share_a_caller_by_redis(start_service: StartService, redis_server: RedisServer, tmp_path: Path) -> None:
    """What one pod gives, the other takes off; without Redis each counts alone, and nobody waits."""
    file = tmp_path / "keys"
    file.write_text(line("both", "both-key", "texts_per_day=100000"))
    shared = {"VALENCE_API_KEYS_FILE": str(file), "VALENCE_REDIS_URL": redis_server.url}
    pods = [start_service(**shared, VALENCE_THREADS="1", VALENCE_DRAIN_SECONDS="0") for _ in range(2)]
    first, second = (pod.wait_ready() for pod in pods)

    assert left(predict(first, 60, X_API_Key="both-key")) == 99_940
    asked: list[int] = []
    ask = partial(predict, second, X_API_Key="both-key")
    until(
        lambda: asked.append(left(ask())) or asked[-1] < 100_000 - len(asked),
        "it has heard of 60",
    )
    assert asked[-1] == 99_940 - len(asked)
    redis_server.kill()
    until(lambda: "usage_not_shared" in second.log.read_text(), "the second pod notices")
    assert left(ask()) == asked[-1] - 1
    redis_server.start()
    until(lambda: "usage_shared_again" in second.log.read_text(), "Redis is back")
